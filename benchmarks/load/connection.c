/* The clients' connections: opening them, writing to them, waiting for them. */
#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
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
void put_frame(Client *c, const char *text, int len) {
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

void put_poll(Client *c, const char *method, const char *body) {
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

void put_upgrade(Client *c) {
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

int connect_packet(Client *c, char *text) {
    return sprintf(text, "40{\"token\":\"%s\"}", token_of(c));
}

static int is_waiting(Client *c) {
    for (int i = 0; i < SLOTS; i++)
        if (c->streams[i].running) return 1;
    return 0;
}

/* Post what waits, or poll for more: a polling client has only one connection. */
void poll_on(Client *c) {
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
    if (!polls()) {
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
                       "POST %s HTTP/1.1\r\nHost: localhost:%d\r\n"
                       "Authorization: Bearer %s\r\n"
                       "Content-Type: application/json\r\n"
                       "Content-Length: %d\r\n\r\n%.*s",
                       is_openai() ? "/v1/chat/completions" : "/llm/chat", port,
                       token_of(c), len, len, body);
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

static int port_of(Client *c) {
    int is_elsewhere = transport == RELAYED ? c->sid[0] : c->index % 2;
    return other_port && is_elsewhere ? other_port : port;
}

static void connect_tcp(Client *c) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port_of(c)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, little = 16384;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (mode == SLOW) /* otherwise the kernel would buffer the whole answer */
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

int polls(void) { return transport == POLLING || transport == RELAYED; }
int is_openai(void) { return transport == OPENAI_SSE || transport == OPENAI_REST; }
int posts(void) { return transport == SSE || transport == REST || is_openai(); }

/* A balancer without stickiness sends the session's next requests to another worker. */
void go_elsewhere(Client *c) {
    close(c->fd);
    connect_tcp(c);
}

void open_client(Client *c) {
    if (!c->in) c->in = malloc(IN_SIZE);
    if (!c->text) c->text = malloc(IN_SIZE);
    c->in_len = c->text_len = c->in_body = c->is_out = 0;
    c->sid[0] = c->outbox[0] = 0;
    connect_tcp(c);
    if (posts()) {
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

/* Handle what arrives until a moment; if it has passed, what has already arrived. */
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
