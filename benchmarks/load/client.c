/* Many clients of a chat server in one thread, which measure what happens to each token.
 *
 *   client PORT TOKENS COUNT TRANSPORT MODE ARGUMENT MODEL SECONDS WARM-UP
 *
 * TOKENS is a file of access tokens, one a line, which the clients take in turn.
 * TRANSPORT is
 *   websocket, upgrade (polling, then the upgrade), polling, sse or rest
 *   relayed  polling: the handshake at PORT, and all else at OTHER_PORT
 *   openai-sse or openai-rest, which ask as OpenAI's API does, at /v1/chat/completions
 * MODE is
 *   once     every client asks once; they begin spread over ARGUMENT milliseconds
 *   closed   every client asks again as soon as its answer has ended; ARGUMENT is the
 *            number of answers of all clients (0: until the time is up)
 *   open     ARGUMENT new answers a second, over all clients
 *   connect  every client joins, closes and connects again
 *   idle     the clients join and do nothing
 *   cancel   every client cancels its answer at the first token, and asks again
 *   slow     every client asks once, reads nothing for SECONDS, and then everything
 *
 * With OTHER_PORT in the environment, every second client connects to that port.
 *
 * It prints the lines "connected", "begin" and "end", which bound what is measured, and
 * one object in JSON. The provider's tokens are "SEQ:US ": see provider.c.
 */
#define _GNU_SOURCE
#include "client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int port, other_port, client_count;
Transport transport;
Mode mode;
const char *model;
Client clients[MAX_CLIENTS];

static const char *const TRANSPORTS[] = {
    "websocket", "upgrade", "polling",    "relayed",
    "sse",       "rest",    "openai-sse", "openai-rest",
    NULL};
static const char *const MODES[] = {"once", "closed", "open",  "connect",
                                    "idle", "cancel", "slow",  NULL};
static const int64_t SECOND = 1000000, LAST_ENDS = 60 * 1000000LL;
static const int64_t AFTERWARDS = 300000; /* for events that arrive after the last end */

static void say(const char *word) {
    printf("%s\n", word);
    fflush(stdout);
}

static int find(const char *const *names, const char *name) {
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name)) return i;
    fprintf(stderr, "client: %s is none of its words\n", name);
    exit(2);
}

static void join_all(void) {
    for (int i = 0; i < client_count; i++) {
        Client *c = &clients[i];
        open_client(c);
        int64_t last = now_us() + 10 * SECOND;
        while (c->state != READY && c->state != GONE && now_us() < last)
            wait_until(now_us() + 1000);
    }
}

/* Ask with the next client that has a free stream. */
static void ask_anybody(void) {
    static int cursor;
    for (int tries = 0; tries < client_count * SLOTS; tries++) {
        cursor = (cursor + 1) % (client_count * SLOTS);
        Client *c = &clients[cursor % client_count];
        int slot = cursor / client_count;
        if (c->state == READY && !c->streams[slot].running) {
            ask(c, slot);
            return;
        }
    }
}

static void ask_all(void) {
    for (int i = 0; i < client_count; i++)
        if (clients[i].state == READY) ask(&clients[i], 0);
}

static void begin(void) {
    if (mode == CONNECT)
        for (int i = 0; i < client_count; i++) open_client(&clients[i]);
    if (mode == CLOSED || mode == CANCEL || mode == SLOW) ask_all();
    if (mode == SLOW)
        for (int i = 0; i < client_count; i++) listen_to(&clients[i], 0);
}

/* Do what is due at a moment; return whether nothing more is to be done. */
static int advance(int64_t argument, int64_t passed) {
    static long asked;
    if (mode == ONCE) {
        while (asked < client_count &&
               passed >= argument * 1000 * asked / client_count) {
            Client *c = &clients[asked++];
            if (c->state == READY) ask(c, 0);
        }
        return asked == client_count && !running();
    }
    if (mode == OPEN)
        for (; asked * SECOND / argument <= passed; asked++) ask_anybody();
    return mode == CLOSED && argument && started() >= argument;
}

static void run(int64_t argument, double seconds, double warm) {
    int64_t began = now_us();
    int64_t from = began + (int64_t)(warm * SECOND);
    int64_t to = from + (int64_t)(seconds * SECOND);
    set_window(from, to);
    begin();
    int is_measured = 0;
    for (int64_t now = began; now < to; now = now_us()) {
        if (!is_measured && now >= from) {
            say("begin");
            is_measured = 1;
        }
        if (advance(argument, now - began)) break;
        wait_until(now + 500);
    }
    if (!is_measured) say("begin");
    if (now_us() < to) set_window(from, to = now_us());
    say("end");
    if (mode == SLOW)
        for (int i = 0; i < client_count; i++)
            if (clients[i].state != GONE) listen_to(&clients[i], 1);
    for (int64_t last = to + LAST_ENDS; running() && now_us() < last;)
        wait_until(now_us() + 1000);
    for (int64_t last = now_us() + AFTERWARDS; now_us() < last;)
        wait_until(last);
}

int main(int argc, char **argv) {
    if (argc != 10) {
        fprintf(stderr, "client: see client.c for the arguments\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    port = atoi(argv[1]);
    const char *other = getenv("OTHER_PORT");
    other_port = other ? atoi(other) : 0;
    read_tokens(argv[2]);
    client_count = atoi(argv[3]);
    transport = (Transport)find(TRANSPORTS, argv[4]);
    mode = (Mode)find(MODES, argv[5]);
    model = argv[7];
    open_loop();
    for (int i = 0; i < client_count; i++) clients[i].index = i;
    if (mode != CONNECT) join_all();
    say("connected");
    run(atoll(argv[6]), atof(argv[8]), atof(argv[9]));
    report();
    return 0;
}
