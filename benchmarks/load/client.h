/* Declarations shared by the parts of the load client; client.c says what it does. */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdint.h>

enum { MAX_CLIENTS = 20000, SLOTS = 4, IN_SIZE = 1 << 20 };

typedef enum {
    WEBSOCKET,
    UPGRADE,
    POLLING,
    RELAYED,
    SSE,
    REST,
    OPENAI_SSE,
    OPENAI_REST
} Transport;
typedef enum { ONCE, CLOSED, OPEN, CONNECT, IDLE, CANCEL, SLOW } Mode;

/* What a client waits for. READY: it has joined and can ask. */
typedef enum {
    GONE,
    HANDSHAKE,
    POLL_OPEN,
    POLL_POST,
    POLL_JOIN,
    UPGRADING,
    PROBING,
    JOINING,
    READY
} State;

typedef struct {
    int running, number;
    int next; /* the number of the token that is expected next */
    int64_t asked, cancelled;
} Stream;

typedef struct {
    int fd, index;
    State state;
    char *in; /* received and not yet handled, `in_len` bytes */
    int in_len;
    char sid[64];
    /* `in_body`: inside a chunked body, whose unhandled part is in `text`. */
    int in_body, text_len;
    char *text;
    /* Polling: a request is out, and packets to post wait in `outbox` for its response. */
    int is_out;
    char outbox[2048];
    int ask_again; /* ask again as soon as the response has ended */
    Stream streams[SLOTS];
} Client;

/* The arguments. */
extern int port, other_port, client_count;
extern Transport transport;
extern Mode mode;
extern const char *model;

extern Client clients[MAX_CLIENTS];

/* connection.c: opening connections, writing to them, waiting for them. */
void open_loop(void);
void read_tokens(const char *path);
int64_t now_us(void);
void open_client(Client *c);
void drop(Client *c);
int polls(void);
int posts(void);
int is_openai(void);
void go_elsewhere(Client *c);
void listen_to(Client *c, int yes);
void wait_until(int64_t moment);
void send_packet(Client *c, const char *packet, int len);
void post_chat(Client *c, const char *body, int len);
void put_frame(Client *c, const char *text, int len);
void put_poll(Client *c, const char *method, const char *body);
void put_upgrade(Client *c);
int connect_packet(Client *c, char *text);
void poll_on(Client *c);

/* receive.c: HTTP, long-polling and WebSocket frames. */
void receive(Client *c);

/* streams.c: what is asked, what arrives, and whether all of it is right. */
void set_window(int64_t from, int64_t to);
void ask(Client *c, int slot);
void on_event(Client *c, const char *name, const char *text, int len);
void on_openai(Client *c, const char *data, int len);
void on_joined(Client *c);
void on_response_end(Client *c);
void note_refused(Client *c, const char *text);
void note_closed(void);
void note_strange(void);
long running(void);
long started(void);
void report(void);

#endif
