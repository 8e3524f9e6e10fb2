/* A provider that costs next to nothing: OpenAI's streamed chat completions.
 *
 *   provider PORT
 *
 * The model's name says what to answer: "t60r30" is 60 tokens, 30 a second; "t60r0" is
 * 60 tokens as fast as the socket takes them. A token's text is "SEQ:US ", its number
 * and the microsecond of CLOCK_MONOTONIC at which it was written, so that a program that
 * reads it on the same machine can compute how late it is. Without "stream", the answer
 * is written at once and whole.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

enum { MAX_FD = 20000, IN_SIZE = 65536, OUT_SIZE = 262144 };

typedef struct {
    int fd;
    int total, sent;       /* tokens of the answer that is being written */
    int64_t every, due;    /* microseconds */
    int active, slot;
    int in_len, out_len, out_at;
    char *in, *out;
} Conn;

static Conn *conns[MAX_FD];
static Conn *active[MAX_FD];
static int active_count;
static int poll_fd;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void activate(Conn *c) {
    c->active = 1;
    c->slot = active_count;
    active[active_count++] = c;
}

static void deactivate(Conn *c) {
    if (!c->active) return;
    c->active = 0;
    active[c->slot] = active[--active_count];
    active[c->slot]->slot = c->slot;
}

static void drop(Conn *c) {
    deactivate(c);
    conns[c->fd] = NULL;
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void want_write(Conn *c, int yes) {
    struct epoll_event e = {.events = EPOLLIN | (yes ? EPOLLOUT : 0), .data.fd = c->fd};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

/* Returns 0 when the connection is lost. */
static int flush_out(Conn *c) {
    while (c->out_at < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) { want_write(c, 1); return 1; }
            return 0;
        }
        c->out_at += n;
    }
    c->out_at = c->out_len = 0;
    return 1;
}

static void put_chunk(Conn *c, const char *text, int len) {
    c->out_len += sprintf(c->out + c->out_len, "%x\r\n", len);
    memcpy(c->out + c->out_len, text, len);
    c->out_len += len;
    memcpy(c->out + c->out_len, "\r\n", 2);
    c->out_len += 2;
}

static void put_token(Conn *c) {
    char text[256];
    int len = sprintf(text,
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m\","
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d:%lld \"},"
        "\"finish_reason\":null}]}\n\n", c->sent++, (long long)now_us());
    put_chunk(c, text, len);
}

static void put_end(Conn *c) {
    char text[512];
    int len = sprintf(text,
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m\","
        "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m\","
        "\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":%d,"
        "\"total_tokens\":%d}}\n\ndata: [DONE]\n\n", c->total, c->total + 5);
    put_chunk(c, text, len);
    memcpy(c->out + c->out_len, "0\r\n\r\n", 5);
    c->out_len += 5;
    deactivate(c);
}

static void put_whole(Conn *c) {
    static char text[OUT_SIZE / 2];
    int len = sprintf(text,
        "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    while (c->sent < c->total && len < OUT_SIZE / 2 - 1024)
        len += sprintf(text + len, "%d:%lld ", c->sent++, (long long)now_us());
    len += sprintf(text + len,
        "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,"
        "\"completion_tokens\":%d,\"total_tokens\":%d}}", c->sent, c->sent + 5);
    c->out_len += sprintf(c->out + c->out_len,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        "content-length: %d\r\n\r\n", len);
    memcpy(c->out + c->out_len, text, len);
    c->out_len += len;
}

/* Writes what is due. Returns 0 when the connection is lost. */
static int advance(Conn *c, int64_t now) {
    while (c->active && c->due <= now && c->out_len < OUT_SIZE - 2048) {
        if (c->sent == c->total) put_end(c);
        else put_token(c);
        c->due += c->every;
        if (!c->every && c->out_len > 16384) break;
    }
    return flush_out(c);
}

static void answer(Conn *c, const char *body) {
    const char *model = strstr(body, "\"t");
    c->total = 10;
    int rate = 0;
    for (; model; model = strstr(model + 1, "\"t"))
        if (sscanf(model, "\"t%dr%d\"", &c->total, &rate) == 2) break;
    c->sent = 0;
    if (!strstr(body, "\"stream\":true") && !strstr(body, "\"stream\": true")) {
        put_whole(c);
        return;
    }
    c->every = rate ? 1000000 / rate : 0;
    c->due = now_us();
    c->out_len += sprintf(c->out + c->out_len,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        "transfer-encoding: chunked\r\n\r\n");
    activate(c);
}

/* Returns 0 when the connection is lost. */
static int receive(Conn *c) {
    ssize_t n = recv(c->fd, c->in + c->in_len, IN_SIZE - 1 - c->in_len, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    c->in_len += n;
    c->in[c->in_len] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return c->in_len < IN_SIZE - 1;
    char *length = strcasestr(c->in, "content-length:");
    int body = length && length < end ? atoi(length + 15) : 0;
    int whole = (int)(end + 4 - c->in) + body;
    if (c->in_len < whole) return whole < IN_SIZE - 1;
    answer(c, end + 4);
    c->in_len = 0; /* no pipelining: one request at a time */
    return advance(c, now_us());
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        if (fd >= MAX_FD) { close(fd); continue; }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Conn *c = conns[fd] = calloc(1, sizeof *c);
        c->fd = fd;
        c->in = malloc(IN_SIZE);
        c->out = malloc(OUT_SIZE);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static int wait_ms(int64_t now) {
    int64_t next = now + 1000000;
    for (int i = 0; i < active_count; i++)
        if (active[i]->out_len == 0 && active[i]->due < next) next = active[i]->due;
    return next <= now ? 0 : (int)((next - now + 999) / 1000);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
        perror("provider");
        return 1;
    }
    socklen_t size = sizeof address;
    getsockname(listener, (void *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    poll_fd = epoll_create1(0);
    struct epoll_event events[512], e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int count = epoll_wait(poll_fd, events, 512, wait_ms(now_us()));
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) { accept_all(listener); continue; }
            Conn *c = conns[fd];
            if (!c) continue;
            if (events[i].events & EPOLLOUT) want_write(c, 0);
            int alive = !(events[i].events & (EPOLLERR | EPOLLHUP));
            if (alive && events[i].events & EPOLLIN) alive = receive(c);
            if (alive && events[i].events & EPOLLOUT) alive = flush_out(c);
            if (!alive) drop(c);
        }
        int64_t now = now_us();
        for (int i = active_count - 1; i >= 0; i--) {
            Conn *c = active[i];
            if (c->out_len == 0 && c->due <= now && !advance(c, now)) drop(c);
        }
    }
}
