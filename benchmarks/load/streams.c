/* Streams: what is asked, how late each token of the answer is, and what is wrong. */
#define _GNU_SOURCE
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SAMPLES = 20000000 };

typedef struct {
    const char *name;
    uint32_t *us;
    int count;
} Samples;

static Samples delays = {.name = "delay_ms"}, firsts = {.name = "first_ms"};
static Samples wholes = {.name = "whole_ms"}, cancels = {.name = "cancel_ms"};
static int64_t window_from, window_to;
static int expected; /* tokens of an answer */
static long begun, done, errors, refused, seen, lost, doubled, strange, joins, closed;
static long window_tokens, window_done, window_joined;
static char last_error[500];

void set_window(int64_t from, int64_t to) {
    window_from = from;
    window_to = to;
    sscanf(model, "t%d", &expected);
}

static int in_window(int64_t now) { return now >= window_from && now < window_to; }

static void note(Samples *s, int64_t us) {
    if (!s->us) s->us = malloc(sizeof *s->us * MAX_SAMPLES);
    if (s->count == MAX_SAMPLES) return;
    s->us[s->count++] = us < 0 ? 0 : us > 4000000000LL ? 4000000000U : (uint32_t)us;
}

static void note_error(const char *text, int len) {
    snprintf(last_error, sizeof last_error, "%.*s", len, text);
}

void note_closed(void) { closed++; }
void note_strange(void) { strange++; }

void note_refused(Client *c, const char *text) {
    refused++;
    note_error(text, (int)strlen(text));
    drop(c);
}

long started(void) { return begun; }

long running(void) {
    long count = 0;
    for (int i = 0; i < client_count; i++)
        for (int j = 0; j < SLOTS; j++)
            count += clients[i].state != GONE && clients[i].streams[j].running;
    return count;
}

/* A session's id contains its client, slot and number, so that what arrives can be checked
 * against what was asked: an event of another client or of an ended stream is strange. */
void ask(Client *c, int slot) {
    char text[600];
    Stream *s = &c->streams[slot];
    s->running = 1;
    s->number++;
    s->next = 0;
    s->cancelled = 0;
    s->asked = now_us();
    begun++;
    int is_stream = transport == SSE || transport == OPENAI_SSE;
    const char *stream = is_stream ? ",\"stream\":true" : "";
    char names[200];
    if (is_openai()) /* its API has no sessions */
        sprintf(names, "\"model\":\"openai/%s\"", model);
    else
        sprintf(names,
                "\"sessionId\":\"b%dx%dx%d\",\"provider\":\"openai\","
                "\"model\":\"%s\"",
                c->index, slot, s->number, model);
    int len = sprintf(text,
                      "%s{%s,\"messages\":[{\"role\":\"user\","
                      "\"content\":\"Question %d of %d.%d\"}]%s}%s",
                      posts() ? "" : "42[\"llm:chat:stream\",", names, s->number,
                      c->index, slot, stream, posts() ? "" : "]");
    if (posts())
        post_chat(c, text, len);
    else
        send_packet(c, text, len);
}

static void cancel(Client *c, Stream *s) {
    char text[200];
    s->cancelled = now_us();
    int len = sprintf(text, "42[\"llm:stream:cancel\",{\"sessionId\":\"b%dx%dx%d\"}]",
                      c->index, (int)(s - c->streams), s->number);
    send_packet(c, text, len);
}

/* Return the text of a field, with or without a space before it; NULL if there is none. */
static const char *field(const char *text, int len, const char *name) {
    const char *at = memmem(text, len, name, strlen(name));
    if (!at) return NULL;
    at += strlen(name);
    at += *at == ' ';
    return *at == '"' ? at + 1 : NULL;
}

static Stream *stream_of(Client *c, const char *text, int len) {
    const char *at = field(text, len, "\"sessionId\":");
    int index, slot, number;
    if (!at || sscanf(at, "b%dx%dx%d", &index, &slot, &number) != 3) return NULL;
    if (index != c->index || slot < 0 || slot >= SLOTS) return NULL;
    Stream *s = &c->streams[slot];
    return s->running && s->number == number ? s : NULL;
}

/* Text is "SEQ:US SEQ:US …"; a lagging client may get several tokens at once. */
static void take_text(Stream *s, const char *at, int64_t now) {
    while (*at && *at != '"') {
        char *rest;
        long number = strtol(at, &rest, 10);
        if (*rest != ':') {
            strange++;
            return;
        }
        int64_t written = strtoll(rest + 1, &rest, 10);
        at = *rest == ' ' ? rest + 1 : rest;
        if (number < s->next)
            doubled++;
        else
            lost += number - s->next;
        if (!s->next && in_window(now)) note(&firsts, now - s->asked);
        s->next = (int)number + 1;
        seen++;
        if (in_window(now)) {
            note(&delays, now - written);
            window_tokens++;
        }
    }
}

static void on_token(Client *c, const char *text, int len, int64_t now) {
    Stream *s = stream_of(c, text, len);
    const char *at = field(text, len, "\"token\":");
    if (!s || !at) {
        strange++;
        return;
    }
    take_text(s, at, now);
    if (mode == CANCEL && !s->cancelled) cancel(c, s);
}

static void again(Client *c, Stream *s, int64_t now) {
    if ((mode != CLOSED && mode != CANCEL) || now >= window_to) return;
    if (posts())
        c->ask_again = 1; /* the end of the response is yet to arrive */
    else
        ask(c, (int)(s - c->streams));
}

static void on_done(Stream *s, const char *text, int len, int64_t now) {
    const char *whole = field(text, len, "\"fullResponse\":");
    if (transport == REST && whole) take_text(s, whole, now);
    done++;
    lost += expected - s->next;
    if (!in_window(now)) return;
    window_done++;
    note(&wholes, now - s->asked);
}

/* `s` is the stream that ends; NULL if there is none. */
static void on_end(Client *c, Stream *s, char kind, const char *text, int len,
                   int64_t now) {
    if (!s) {
        /* A refused REST request names no session. */
        strange++;
        note_error(text, len);
        return;
    }
    s->running = 0;
    if (kind == 'd') {
        on_done(s, text, len, now);
    } else if (kind == 'c' && s->cancelled) {
        done++;
        if (in_window(now)) note(&cancels, now - s->cancelled);
    } else {
        s->next ? errors++ : refused++;
        note_error(text, len);
    }
    again(c, s, now);
}

/* `name` begins with the event's name, `text` holds its fields. */
void on_event(Client *c, const char *name, const char *text, int len) {
    static const char prefix[] = "llm:stream:";
    int64_t now = now_us();
    if (!strncmp(name, prefix, sizeof prefix - 1)) name += sizeof prefix - 1;
    if (!strncmp(name, "token", 5))
        on_token(c, text, len, now);
    else if (!strncmp(name, "done", 4))
        on_end(c, stream_of(c, text, len), 'd', text, len, now);
    else if (!strncmp(name, "cancelled", 9))
        on_end(c, stream_of(c, text, len), 'c', text, len, now);
    else if (!strncmp(name, "error", 5))
        on_end(c, stream_of(c, text, len), 'e', text, len, now);
}

/* A chunk of OpenAI's API, or its whole answer. It names no session, but a connection has
 * only one answer at a time. */
void on_openai(Client *c, const char *data, int len) {
    int64_t now = now_us();
    Stream *s = c->streams[0].running ? &c->streams[0] : NULL;
    const char *text = field(data, len, "\"content\":");
    int is_last = transport == OPENAI_REST || !strncmp(data, "[DONE]", 6);
    if (!strncmp(data, "{\"error\"", 8)) {
        on_end(c, s, 'e', data, len, now);
        return;
    }
    if (text && s)
        take_text(s, text, now);
    else if (!s)
        strange++;
    if (is_last && s) on_end(c, s, 'd', data, len, now);
}

void on_joined(Client *c) {
    joins++;
    if (in_window(now_us())) window_joined++;
    if (mode != CONNECT) return;
    drop(c);
    if (now_us() < window_to) open_client(c);
}

void on_response_end(Client *c) {
    if (!c->ask_again) return;
    c->ask_again = 0;
    ask(c, 0);
}

/* --- The report ----------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Median, p90, p99 and the worst, in milliseconds. */
static void print_samples(Samples *s) {
    if (s->count) qsort(s->us, s->count, sizeof *s->us, compare);
    long n = s->count, at[] = {n / 2, n * 9 / 10, n * 99 / 100, n - 1};
    printf("\"%s\":[", s->name);
    for (int i = 0; i < 4; i++)
        printf("%s%.3f", i ? "," : "", n ? s->us[at[i]] / 1000.0 : 0.0);
    printf("],");
}

void report(void) {
    printf("{");
    print_samples(&delays);
    print_samples(&firsts);
    print_samples(&wholes);
    print_samples(&cancels);
    printf("\"joined\":%ld,\"window_joined\":%ld,\"started\":%ld,\"done\":%ld,"
           "\"window_done\":%ld,\"tokens\":%ld,\"window_tokens\":%ld,",
           joins, window_joined, begun, done, window_done, seen, window_tokens);
    printf("\"lost\":%ld,\"doubled\":%ld,\"strange\":%ld,\"errors\":%ld,"
           "\"refused\":%ld,\"closed\":%ld,\"unended\":%ld,\"seconds\":%.3f}\n",
           lost, doubled, strange, errors, refused, closed, running(),
           (double)(window_to - window_from) / 1e6);
    if (last_error[0]) fprintf(stderr, "client: %s\n", last_error);
}
