/* Parsing what the server sends: HTTP, polling and WebSocket, as far as clients need. */
#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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

/* Handle the complete frames; return how many bytes they were. */
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

/* Handle the packets of a poll's response, which U+001E separates. */
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
        int len = (int)(end - at);
        if (is_openai() && !strncmp(at, "data: ", 6)) on_openai(c, at + 6, len - 6);
        if (!strncmp(at, "event: ", 7)) on_event(c, at + 7, at, len);
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
        if (transport == RELAYED) go_elsewhere(c);
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
        } else if (polls()) {
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
        if (polls()) {
            take_packets(c, body, len);
        } else {
            if (transport == REST) on_event(c, "done", body, len);
            if (transport == OPENAI_REST) on_openai(c, body, len);
            on_response_end(c);
        }
        return;
    default:
        return;
    }
}

/* Take one chunk of a body; return how many bytes it was, 0 if it is incomplete. */
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
    if (transport == SSE || transport == OPENAI_SSE) take_events(c);
    return whole;
}

/* Take one HTTP response; return how many bytes it was, 0 if it is incomplete. */
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

/* Take what comes next; during a handshake, frames may already follow the response. */
static int take(Client *c) {
    if (is_websocket(c)) return take_frames(c);
    if (c->in_body) return take_chunk(c);
    if (c->in_len >= 4 && !memcmp(c->in, "HTTP", 4)) return take_response(c);
    return c->state == HANDSHAKE ? take_frames(c) : 0;
}

void receive(Client *c) {
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
