/* Many stock-like Socket.IO clients in one thread, and what each token of theirs meets.
 *
 *   client PORT TOKENS COUNT MODE ARGUMENT MODEL SECONDS [WARM-UP SECONDS]
 *
 * TOKENS is a file of access tokens, one a line, taken in turn. MODE is
 *   once     every client asks once; ARGUMENT is over how many milliseconds they begin
 *   closed   every client asks again as soon as its answer has ended
 *   open     ARGUMENT new answers a second, over all clients
 *   connect  connections are made and closed, ARGUMENT at a time; MODEL is "websocket"
 *            or "polling", which is upgraded
 *   idle     the clients are there and do nothing
 *
 * Lines on stdout: "connected", "begin" and "end" of what is measured, then one object
 * in JSON. The provider's tokens are "SEQ:US ": see provider.c.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 20000, SLOTS = 4, IN_SIZE = 1 << 20, MAX_SAMPLES = 20000000 };
enum State { CLOSED, HANDSHAKE, POLL_OPEN, POLL_POST, POLL_JOIN, UPGRADING, PROBING, JOINING, READY };

typedef struct {
    int running, number, next;   /* next: the token that has to come */
    int64_t asked;
} Stream;

typedef struct {
    int fd, index;
    enum State state;
    char *in;
    int in_len;
    char sid[64];
    Stream streams[SLOTS];
} Client;

typedef struct { uint32_t *us; int count; } Samples;

static Client clients[MAX_CLIENTS];
static int by_fd[65536];
static char **tokens;
static int token_count, client_count, port, poll_fd, expected;
static const char *mode, *model;
static int64_t window_from, window_to, asked_at_end;
static Samples delays, firsts, wholes;
static long started, done, errors, refused, seen, lost, doubled, strange, joined, closed_early, pings;
static long window_tokens, window_done, window_joined;
static char last_error[300];

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void note(Samples *s, int64_t us) {
    if (s->count < MAX_SAMPLES) s->us[s->count++] = us < 0 ? 0 : us > 4000000000LL ? 4000000000U : us;
}

static int in_window(int64_t now) { return now >= window_from && now < window_to; }

static void drop(Client *c) {
    if (c->state == CLOSED) return;
    c->state = CLOSED;
    close(c->fd);
    c->in_len = 0;
}

static int put(Client *c, const char *data, int len) {
    while (len) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) { usleep(100); continue; }
        if (n <= 0) { closed_early++; drop(c); return 0; }
        data += n;
        len -= n;
    }
    return 1;
}

/* A masked text frame; a mask of zeros leaves the text as it is. */
static int put_frame(Client *c, const char *text, int len) {
    static char frame[70000];
    int at = 2;
    frame[0] = (char)0x81;
    if (len < 126) frame[1] = (char)(0x80 | len);
    else {
        frame[1] = (char)(0x80 | 126);
        frame[2] = len >> 8;
        frame[3] = len & 255;
        at = 4;
    }
    memset(frame + at, 0, 4);
    memcpy(frame + at + 4, text, len);
    return put(c, frame, at + 4 + len);
}

static int put_request(Client *c, const char *method, const char *sid, const char *body) {
    char text[4096];
    int len = sprintf(text, "%s /socket.io/?EIO=4&transport=polling%s%s HTTP/1.1\r\nHost: localhost:%d\r\n"
        "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%s",
        method, sid[0] ? "&sid=" : "", sid, port, (int)strlen(body), body);
    return put(c, text, len);
}

static int put_upgrade(Client *c) {
    char text[512];
    int len = sprintf(text, "GET /socket.io/?EIO=4&transport=websocket%s%s HTTP/1.1\r\nHost: localhost:%d\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", c->sid[0] ? "&sid=" : "", c->sid, port);
    return put(c, text, len);
}

static int connect_packet(Client *c, char *text) {
    return sprintf(text, "40{\"token\":\"%s\"}", tokens[c->index % token_count]);
}

static int connect_tcp(Client *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (void *)&address, sizeof address)) { perror("client"); exit(1); }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct linger hard = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    by_fd[c->fd] = c->index;
    c->in_len = 0;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = c->fd};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &e);
    return 1;
}

static void open_client(Client *c, int polling) {
    if (!c->in) c->in = malloc(IN_SIZE);
    c->sid[0] = 0;
    connect_tcp(c);
    if (polling) { c->state = POLL_OPEN; put_request(c, "GET", "", ""); }
    else { c->state = HANDSHAKE; put_upgrade(c); }
}

static void ask(Client *c, int slot) {
    char text[512];
    Stream *s = &c->streams[slot];
    s->running = 1;
    s->number++;
    s->next = 0;
    s->asked = now_us();
    started++;
    int len = sprintf(text, "42[\"llm:chat:stream\",{\"sessionId\":\"b%dx%dx%d\",\"provider\":\"openai\","
        "\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Question %d of %d.%d\"}]}]",
        c->index, slot, s->number, model, s->number, c->index, slot);
    put_frame(c, text, len);
}

static Stream *stream_of(Client *c, const char *text, int len) {
    const char *at = memmem(text, len, "\"sessionId\":\"b", 14);
    int index, slot, number;
    if (!at || sscanf(at + 14, "%dx%dx%d", &index, &slot, &number) != 3) return NULL;
    if (index != c->index || slot < 0 || slot >= SLOTS) return NULL;
    Stream *s = &c->streams[slot];
    return s->running && s->number == number ? s : NULL;
}

static void on_token(Client *c, const char *text, int len, int64_t now) {
    Stream *s = stream_of(c, text, len);
    const char *at = memmem(text, len, "\"token\":\"", 9);
    if (!s || !at) { strange++; return; }
    for (at += 9; *at != '"';) {
        char *rest;
        long number = strtol(at, &rest, 10);
        if (*rest != ':') { strange++; return; }
        int64_t written = strtoll(rest + 1, &rest, 10);
        at = *rest == ' ' ? rest + 1 : rest;
        if (number < s->next) doubled++;
        else lost += number - s->next;
        if (!s->next && in_window(now)) note(&firsts, now - s->asked);
        s->next = number + 1;
        seen++;
        if (in_window(now)) { note(&delays, now - written); window_tokens++; }
    }
}

static void on_end(Client *c, const char *text, int len, int is_done, int64_t now) {
    Stream *s = stream_of(c, text, len);
    if (!s) { strange++; return; }
    s->running = 0;
    if (!is_done) {
        s->next ? errors++ : refused++;
        snprintf(last_error, sizeof last_error, "%.*s", len < 250 ? len : 250, text);
    } else {
        done++;
        lost += expected - s->next;
        if (in_window(now)) { window_done++; note(&wholes, now - s->asked); }
    }
    if (!strcmp(mode, "closed") && now < asked_at_end) ask(c, (int)(s - c->streams));
}

static void on_event(Client *c, const char *text, int len) {
    static const char prefix[] = "42[\"llm:stream:";
    int64_t now = now_us();
    if (len < (int)sizeof prefix || strncmp(text, prefix, sizeof prefix - 1)) return;
    const char *name = text + sizeof prefix - 1;
    if (!strncmp(name, "token\"", 6)) on_token(c, text, len, now);
    else if (!strncmp(name, "done\"", 5)) on_end(c, text, len, 1, now);
    else if (!strncmp(name, "error\"", 6) || !strncmp(name, "cancelled\"", 10)) on_end(c, text, len, 0, now);
}

static void on_joined(Client *c) {
    c->state = READY;
    joined++;
    if (in_window(now_us())) window_joined++;
    if (!strcmp(mode, "connect")) {
        drop(c);
        if (now_us() < asked_at_end) open_client(c, !strcmp(model, "polling"));
    }
}

static void on_frame(Client *c, char *text, int len) {
    char packet[2048];
    char after = text[len];
    text[len] = 0;
    if (c->state == HANDSHAKE && text[0] == '0') { c->state = JOINING; put_frame(c, packet, connect_packet(c, packet)); }
    else if (c->state == PROBING && !strcmp(text, "3probe")) { if (put_frame(c, "5", 1)) on_joined(c); }
    else if (text[0] == '2') { pings++; put_frame(c, "3", 1); }
    else if (c->state == JOINING && !strncmp(text, "40", 2)) on_joined(c);
    else if (!strncmp(text, "44", 2)) { refused++; snprintf(last_error, sizeof last_error, "%s", text); drop(c); }
    else if (!strncmp(text, "42", 2)) on_event(c, text, len);
    text[len] = after;
}

/* Takes the frames that are whole; returns how many bytes they were. */
static int take_frames(Client *c) {
    int at = 0;
    while (c->state != CLOSED && c->in_len - at >= 2) {
        unsigned char *f = (unsigned char *)c->in + at;
        long len = f[1] & 127, head = 2;
        if (len == 126) { head = 4; if (c->in_len - at < 4) break; len = f[2] << 8 | f[3]; }
        else if (len == 127) { head = 10; if (c->in_len - at < 10) break; len = 0; for (int i = 2; i < 10; i++) len = len << 8 | f[i]; }
        if (c->in_len - at < head + len) break;
        if ((f[0] & 15) == 8) { closed_early++; drop(c); return 0; }
        if ((f[0] & 15) == 1) on_frame(c, (char *)f + head, (int)len);
        at += head + len;
    }
    return at;
}

/* Takes one whole HTTP answer; returns how many bytes it was, 0 while it is not. */
static int take_answer(Client *c) {
    char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!end) return 0;
    c->in[c->in_len] = 0;
    char *length = strcasestr(c->in, "content-length:"), packet[2048];
    int body = length && length < end ? atoi(length + 15) : 0;
    int whole = (int)(end + 4 - c->in) + body;
    if (c->in_len < whole) return 0;
    if (c->state == HANDSHAKE || c->state == UPGRADING) {
        if (strncmp(c->in, "HTTP/1.1 101", 12)) { refused++; snprintf(last_error, sizeof last_error, "%.200s", c->in); drop(c); return 0; }
        if (c->state == UPGRADING) { c->state = PROBING; put_frame(c, "2probe", 6); }
    } else if (strncmp(c->in, "HTTP/1.1 200", 12)) { refused++; snprintf(last_error, sizeof last_error, "%.200s", c->in); drop(c); return 0; }
    else if (c->state == POLL_OPEN) {
        char *sid = strstr(end, "\"sid\":\"");
        if (!sid || sscanf(sid + 7, "%60[^\"]", c->sid) != 1) { strange++; drop(c); return 0; }
        packet[connect_packet(c, packet)] = 0;
        c->state = POLL_POST;
        put_request(c, "POST", c->sid, packet);
    } else if (c->state == POLL_POST) { c->state = POLL_JOIN; put_request(c, "GET", c->sid, ""); }
    else if (c->state == POLL_JOIN) { c->state = UPGRADING; put_upgrade(c); }
    return whole;
}

static void receive(Client *c) {
    ssize_t n = recv(c->fd, c->in + c->in_len, IN_SIZE - 2 - c->in_len, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { closed_early++; drop(c); return; }
    c->in_len += n;
    for (;;) {
        int is_http = c->in_len >= 4 && !memcmp(c->in, "HTTP", 4);
        int taken = is_http ? take_answer(c) : take_frames(c);
        if (c->state == CLOSED || !taken) return;
        if (c->in_len < taken) return; /* opened anew meanwhile */
        memmove(c->in, c->in + taken, c->in_len - taken);
        c->in_len -= taken;
        if (!is_http) return;
    }
}

static void turn(int64_t until) {
    struct epoll_event events[512];
    int64_t left = until - now_us();
    int count = epoll_wait(poll_fd, events, 512, left <= 0 ? 0 : (int)(left / 1000) + (left < 1000));
    for (int i = 0; i < count; i++) {
        Client *c = &clients[by_fd[events[i].data.fd]];
        if (c->state != CLOSED && c->fd == events[i].data.fd) receive(c);
    }
}

static long running(void) {
    long count = 0;
    for (int i = 0; i < client_count; i++)
        for (int j = 0; j < SLOTS; j++) count += clients[i].state != CLOSED && clients[i].streams[j].running;
    return count;
}

static void say(const char *word) { printf("%s\n", word); fflush(stdout); }

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void print_samples(const char *name, Samples *s) {
    qsort(s->us, s->count, sizeof *s->us, compare);
    int n = s->count, at[] = {n / 2, n * 9L / 10, n * 99L / 100, n - 1};
    printf("\"%s\":[", name);
    for (int i = 0; i < 4; i++) printf("%s%.3f", i ? "," : "", n ? s->us[at[i]] / 1000.0 : 0.0);
    printf("],");
}

static void run(int64_t argument, double seconds, double warm) {
    int64_t began = now_us(), next_ask = began, last;
    window_from = began + (int64_t)(warm * 1e6);
    window_to = asked_at_end = window_from + (int64_t)(seconds * 1e6);
    if (!strcmp(mode, "closed")) for (int i = 0; i < client_count; i++) ask(&clients[i], 0);
    int asked = 0, cursor = 0, in = 0;
    if (!strcmp(mode, "connect")) for (int i = 0; i < client_count; i++) open_client(&clients[i], !strcmp(model, "polling"));
    for (;;) {
        int64_t now = now_us();
        if (!in && now >= window_from) { say("begin"); in = 1; }
        if (now >= window_to) break;
        if (!strcmp(mode, "once"))
            while (asked < client_count && now >= began + argument * 1000 * asked / client_count) ask(&clients[asked++], 0);
        if (!strcmp(mode, "open"))
            for (; next_ask <= now; next_ask += 1000000 / argument)
                for (int tries = 0; tries < client_count * SLOTS; tries++) {
                    cursor = (cursor + 1) % (client_count * SLOTS);
                    Client *c = &clients[cursor % client_count];
                    if (c->state == READY && !c->streams[cursor / client_count].running) { ask(c, cursor / client_count); break; }
                }
        turn(now + 500);
        if (!strcmp(mode, "once") && asked == client_count && !running()) break;
    }
    if (window_to > now_us()) window_to = now_us();
    say("end");
    for (last = now_us() + 30000000; running() && now_us() < last;) turn(now_us() + 1000);
}

static void read_tokens(const char *path) {
    FILE *file = fopen(path, "r");
    char line[4096];
    tokens = malloc(sizeof *tokens * MAX_CLIENTS);
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        tokens[token_count++] = strdup(line);
    }
    if (!token_count) { fprintf(stderr, "client: no tokens\n"); exit(1); }
}

int main(int argc, char **argv) {
    if (argc < 8) { fprintf(stderr, "client: see the source for the arguments\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    port = atoi(argv[1]);
    read_tokens(argv[2]);
    client_count = atoi(argv[3]);
    mode = argv[4];
    model = argv[6];
    sscanf(model, "t%d", &expected);
    poll_fd = epoll_create1(0);
    delays.us = malloc(sizeof(uint32_t) * MAX_SAMPLES);
    firsts.us = malloc(sizeof(uint32_t) * MAX_SAMPLES);
    wholes.us = malloc(sizeof(uint32_t) * MAX_SAMPLES);
    for (int i = 0; i < client_count; i++) clients[i].index = i;
    if (strcmp(mode, "connect"))
        for (int i = 0; i < client_count; i++) {
            open_client(&clients[i], 0);
            for (int64_t last = now_us() + 10000000; clients[i].state != READY && clients[i].state != CLOSED && now_us() < last;) turn(now_us() + 1000);
        }
    say("connected");
    char *unused;
    run(strtoll(argv[5], &unused, 10), atof(argv[7]), argc > 8 ? atof(argv[8]) : 0);
    double window = (window_to - window_from) / 1e6;
    printf("{");
    print_samples("delay_ms", &delays);
    print_samples("first_ms", &firsts);
    print_samples("whole_ms", &wholes);
    printf("\"seconds\":%.3f,\"joined\":%ld,\"window_joined\":%ld,\"started\":%ld,\"done\":%ld,\"window_done\":%ld,"
        "\"tokens\":%ld,\"window_tokens\":%ld,\"lost\":%ld,\"doubled\":%ld,\"strange\":%ld,\"errors\":%ld,"
        "\"refused\":%ld,\"closed\":%ld,\"unended\":%ld}\n", window, joined, window_joined, started, done,
        window_done, seen, window_tokens, lost, doubled, strange, errors, refused, closed_early, running());
    if (last_error[0]) fprintf(stderr, "client: %s\n", last_error);
    return 0;
}
