/* The clients' connections: HTTP, long-polling and WebSocket, as far as they go. */
#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char *tokens[MAX_CLIENTS];
static int token_count, poll_fd;
static int by_fd[65536];

int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

void open_loop(void) { poll_fd = epoll_create1(0); }

void read_tokens(const char *path) {
    FILE *file = fopen(path, "r");
    char line[4096];
    while (file && token_count < MAX_CLIENTS && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        tokens[token_count++] = strdup(line);
    }
    if (!token_count) {
        fprintf(stderr, "client: no tokens\n");
        exit(1);
    }
}

static const char *token_of(Client *c) { return tokens[c->index % token_count]; }

/* --- Writing -------------------------------------------------------------------- */

static void put(Client *c, const char *data, int len) {
    while (len) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            note_closed();
            drop(c);
            return;
        }
        data += n;
        len -= n;
    }
}

/* A masked text frame; a mask of zeros leaves the text as it is. */
static void put_frame(Client *c, const char *text, int len) {
    static char frame[70000];
    int head = 2;
    frame[0] = (char)0x81;
    if (len < 126) {
        frame[1] = (char)(0x80 | len);
    } else {
        frame[1] = (char)(0x80 | 126);
        frame[2] = len >> 8;
        frame[3] = len & 255;
        head = 4;
    }
    memset(frame + head, 0, 4);
    memcpy(frame + head + 4, text, len);
    put(c, frame, head + 4 + len);
}

static void put_poll(Client *c, const char *method, const char *body) {
    char text[8192];
    int len = sprintf(text,
                      "%s /socket.io/?EIO=4&transport=polling%s%s HTTP/1.1\r\n"
                      "Host: localhost:%d\r\n"
                      "Content-Type: text/plain;charset=UTF-8\r\n"
                      "Content-Length: %d\r\n\r\n%s",
                      method, c->sid[0] ? "&sid=" : "", c->sid, port,
                      (int)strlen(body), body);
    put(c, text, len);
}

static void put_upgrade(Client *c) {
    char text[512];
    int len = sprintf(text,
                      "GET /socket.io/?EIO=4&transport=websocket%s%s HTTP/1.1\r\n"
                      "Host: localhost:%d\r\n"
                      "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Version: 13\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                      c->sid[0] ? "&sid=" : "", c->sid, port);
    put(c, text, len);
}

static int connect_packet(Client *c, char *text) {
    return sprintf(text, "40{\"token\":\"%s\"}", token_of(c));
}

static int is_waiting(Client *c) {
    for (int i = 0; i < SLOTS; i++)
        if (c->streams[i].running) return 1;
    return 0;
}

/* A client that polls has one connection: it posts what waits, or asks for more. */
static void poll_on(Client *c) {
    if (c->state != READY) return;
    if (c->outbox[0]) {
        char body[sizeof c->outbox];
        strcpy(body, c->outbox);
        c->outbox[0] = 0;
        c->is_out = 1;
        put_poll(c, "POST", body);
    } else if (is_waiting(c)) {
        c->is_out = 1;
        put_poll(c, "GET", "");
    }
}

void send_packet(Client *c, const char *packet, int len) {
    if (transport != POLLING) {
        put_frame(c, packet, len);
        return;
    }
    char *end = c->outbox + strlen(c->outbox);
    if (end != c->outbox) *end++ = '\x1e';
    memcpy(end, packet, len);
    end[len] = 0;
    if (!c->is_out) poll_on(c);
}

void post_chat(Client *c, const char *body, int len) {
    char text[4096];
    int size = sprintf(text,
                       "POST /llm/chat HTTP/1.1\r\nHost: localhost:%d\r\n"
                       "Authorization: Bearer %s\r\n"
                       "Content-Type: application/json\r\n"
                       "Content-Length: %d\r\n\r\n%.*s",
                       port, token_of(c), len, len, body);
    put(c, text, size);
}

/* --- Opening and closing -------------------------------------------------------- */

void drop(Client *c) {
    if (c->state == GONE) return;
    c->state = GONE;
    close(c->fd);
    c->in_len = c->text_len = c->in_body = c->is_out = 0;
}

/* Whether to read what the server sends: a slow reader does not. */
void listen_to(Client *c, int yes) {
    struct epoll_event e = {.events = yes ? EPOLLIN : 0, .data.fd = c->fd};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void connect_tcp(Client *c) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, little = 16384;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (mode == SLOW) /* or the kernel would take the whole answer */
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    if (c->fd < 0 || connect(c->fd, (void *)&address, sizeof address)) {
        perror("client");
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* Reset, don't linger: thousands in TIME_WAIT would use up the ports. */
    struct linger hard = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    by_fd[c->fd] = c->index;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = c->fd};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

void open_client(Client *c) {
    if (!c->in) c->in = malloc(IN_SIZE);
    if (!c->text) c->text = malloc(IN_SIZE);
    c->in_len = c->text_len = c->in_body = c->is_out = 0;
    c->sid[0] = c->outbox[0] = 0;
    connect_tcp(c);
    if (transport == SSE || transport == REST) {
        c->state = READY;
        on_joined(c);
    } else if (transport == WEBSOCKET) {
        c->state = HANDSHAKE;
        put_upgrade(c);
    } else {
        c->state = POLL_OPEN;
        put_poll(c, "GET", "");
    }
}

/* --- Reading -------------------------------------------------------------------- */

static void joined(Client *c) {
    c->state = READY;
    on_joined(c);
}

static void on_packet(Client *c, char *text, int len) {
    static const char event[] = "42[\"";
    char packet[2048];
    char after = text[len];
    text[len] = 0;
    if (c->state == HANDSHAKE && text[0] == '0') {
        c->state = JOINING;
        put_frame(c, packet, connect_packet(c, packet));
    } else if (c->state == PROBING && !strcmp(text, "3probe")) {
        put_frame(c, "5", 1);
        joined(c);
    } else if (text[0] == '2') {
        send_packet(c, "3", 1);
    } else if (c->state == JOINING && !strncmp(text, "40", 2)) {
        joined(c);
    } else if (!strncmp(text, "44", 2)) {
        note_refused(c, text);
    } else if (!strncmp(text, event, sizeof event - 1)) {
        on_event(c, text + sizeof event - 1, text, len);
    }
    text[len] = after;
}

/* Take the frames that are whole; return how many bytes they were. */
static int take_frames(Client *c) {
    int at = 0;
    while (c->state != GONE && c->in_len - at >= 2) {
        unsigned char *f = (unsigned char *)c->in + at;
        long len = f[1] & 127, head = len == 126 ? 4 : len == 127 ? 10 : 2;
        if (c->in_len - at < head) break;
        if (head > 2) {
            len = 0;
            for (int i = 2; i < head; i++) len = len << 8 | f[i];
        }
        if (c->in_len - at < head + len) break;
        if ((f[0] & 15) == 8) {
            note_closed();
            drop(c);
            return 0;
        }
        if ((f[0] & 15) == 1) on_packet(c, (char *)f + head, (int)len);
        at += head + len;
    }
    return at;
}

/* The packets of a poll's response, separated by U+001E. */
static void take_packets(Client *c, char *body, int len) {
    for (char *end = body + len; body < end && c->state == READY;) {
        char *stop = memchr(body, '\x1e', end - body);
        int size = (int)((stop ? stop : end) - body);
        on_packet(c, body, size);
        body += size + 1;
    }
    c->is_out = 0;
    poll_on(c);
}

static void take_events(Client *c) {
    char *at = c->text, *end;
    while ((end = memmem(at, c->text + c->text_len - at, "\n\n", 2))) {
        if (!strncmp(at, "event: ", 7)) on_event(c, at + 7, at, (int)(end - at));
        at = end + 2;
    }
    c->text_len -= (int)(at - c->text);
    memmove(c->text, at, c->text_len);
    c->text[c->text_len] = 0;
}

static void on_response(Client *c, char *body, int len) {
    char packet[2048], *sid;
    switch (c->state) {
    case POLL_OPEN:
        sid = strstr(body, "\"sid\":\"");
        if (!sid || sscanf(sid + 7, "%60[^\"]", c->sid) != 1) {
            note_strange();
            drop(c);
            return;
        }
        packet[connect_packet(c, packet)] = 0;
        c->state = POLL_POST;
        put_poll(c, "POST", packet);
        return;
    case POLL_POST:
        c->state = POLL_JOIN;
        put_poll(c, "GET", "");
        return;
    case POLL_JOIN:
        if (strncmp(body, "40", 2)) {
            note_refused(c, body);
        } else if (transport == POLLING) {
            joined(c);
        } else {
            c->state = UPGRADING;
            put_upgrade(c);
        }
        return;
    case UPGRADING:
        c->state = PROBING;
        put_frame(c, "2probe", 6);
        return;
    case READY:
        if (transport == POLLING) {
            take_packets(c, body, len);
        } else {
            if (transport == REST) on_event(c, "done", body, len);
            on_response_end(c);
        }
        return;
    default:
        return;
    }
}

/* Take one chunk of a body; return how many bytes it was, 0 while it is not whole. */
static int take_chunk(Client *c) {
    c->in[c->in_len] = 0;
    char *line = strstr(c->in, "\r\n");
    if (!line) return 0;
    int size = (int)strtol(c->in, NULL, 16), whole = (int)(line + 4 - c->in) + size;
    if (c->in_len < whole) return 0;
    if (size == 0) {
        int len = c->text_len;
        c->in_body = c->text_len = 0;
        c->in_len = whole; /* no pipelining: nothing follows */
        on_response(c, c->text, len);
        return whole;
    }
    if (c->text_len + size >= IN_SIZE) {
        note_strange();
        drop(c);
        return 0;
    }
    memcpy(c->text + c->text_len, line + 2, size);
    c->text_len += size;
    c->text[c->text_len] = 0;
    if (transport == SSE) take_events(c);
    return whole;
}

/* Take one HTTP response; return how many bytes it was, 0 while it is not whole. */
static int take_response(Client *c) {
    c->in[c->in_len] = 0;
    char *head = strstr(c->in, "\r\n\r\n");
    if (!head) return 0;
    char *body = head + 4, *length = strcasestr(c->in, "\r\ncontent-length:");
    char *chunked = strcasestr(c->in, "\r\ntransfer-encoding: chunked");
    int is_chunked = chunked && chunked < head;
    int is_upgraded = !strncmp(c->in, "HTTP/1.1 101", 12);
    int size = length && length < head ? atoi(length + 17) : 0;
    if (c->in_len < body - c->in + size) return 0;
    char after = body[size];
    body[size] = 0;
    int status = atoi(c->in + 9), is_open = c->state == HANDSHAKE;
    if (status != 200 && !(is_upgraded && (is_open || c->state == UPGRADING))) {
        note_refused(c, body);
        return 0;
    }
    if (is_chunked)
        c->in_body = 1;
    else
        on_response(c, body, size);
    body[size] = after;
    return (int)(body - c->in) + size;
}

static int is_websocket(Client *c) {
    return c->state >= PROBING && (transport == WEBSOCKET || transport == UPGRADE);
}

/* In a handshake that is under way, frames may already follow the response. */
static int take(Client *c) {
    if (is_websocket(c)) return take_frames(c);
    if (c->in_body) return take_chunk(c);
    if (c->in_len >= 4 && !memcmp(c->in, "HTTP", 4)) return take_response(c);
    return c->state == HANDSHAKE ? take_frames(c) : 0;
}

static void receive(Client *c) {
    ssize_t n = recv(c->fd, c->in + c->in_len, IN_SIZE - 2 - c->in_len, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        note_closed();
        drop(c);
        return;
    }
    c->in_len += (int)n;
    while (c->state != GONE && c->in_len) {
        int taken = take(c);
        if (c->state == GONE || !taken || c->in_len < taken) return;
        memmove(c->in, c->in + taken, c->in_len - taken);
        c->in_len -= taken;
    }
}

/* Handle what comes until a moment, or what is there when that has passed. */
void wait_until(int64_t moment) {
    struct epoll_event events[512];
    int64_t left = moment - now_us();
    int wait_ms = left <= 0 ? 0 : (int)(left + 999) / 1000;
    int count = epoll_wait(poll_fd, events, 512, wait_ms);
    for (int i = 0; i < count; i++) {
        Client *c = &clients[by_fd[events[i].data.fd]];
        if (c->state != GONE && c->fd == events[i].data.fd) receive(c);
    }
}
