/* mock.c: an OpenAI-compatible upstream that answers the same bytes every time. One thread, epoll, HTTP/1.1 keep-alive.
 *
 *   mock PORT:LATENCY_MS:CHUNK_DELAY_MS[:WRITES] ...
 *
 * A POST whose body holds "stream":true is answered by 50 SSE chunks, a usage chunk and [DONE], in chunked transfer;
 * any other POST by a chat completion of about 1 KB; a GET or HEAD by a list of models. Without a chunk delay, WRITES=1
 * (the default) sends each event in a write of its own and WRITES=0 all of them in one.
 *
 * The model in the body chooses a speed, so that one port serves every scenario behind any gateway:
 *   "gpt-4o-mini"  the port's own figures
 *   "gpt-4o"       10 ms between chunks
 *   "gpt-4.1"      50 ms before the first byte
 *
 * It listens on 127.0.0.1 only. SIGUSR1 prints the counters to standard error, as does its end (SIGTERM, SIGINT). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CHUNKS = 50,
    LAST_EVENT = CHUNKS + 2, /* events[0] is the head, then the chunks, usage, [DONE] */
    MOST_LISTENERS = 16,
    MOST_DESCRIPTORS = 65536,
    FIRST_INPUT_BYTES = 16384,
    EVENTS_PER_WAIT = 512,
    SLOW_CHUNK_MS = 10,
    SLOW_START_MS = 50,
};

typedef struct {
    int descriptor, port, latency_ms, chunk_delay_ms, writes;
} listener;

typedef enum { IDLE, ANSWERING } phase;
typedef enum { COMPLETION, STREAM, MODEL_LIST } answer_kind;

typedef struct {
    bool alive;
    unsigned generation; /* rises with every use of the descriptor: a timer of an earlier one is void */
    const listener *door;
    phase phase;
    answer_kind kind;
    int next_event; /* of a stream; 0 before its first */
    int latency_ms, chunk_delay_ms;
    char *input;
    size_t input_length, input_capacity;
    char *output; /* what the socket would not take yet */
    size_t output_length, output_sent, output_capacity;
} connection;

typedef struct {
    int64_t due_us;
    int descriptor;
    unsigned generation;
} timer;

typedef struct {
    char bytes[8192];
    size_t length;
} text;

static listener listeners[MOST_LISTENERS];
static int listener_count;
static connection *connections[MOST_DESCRIPTORS];
static int poller;

static timer *timers; /* a binary heap, the earliest first */
static int timer_count, timer_capacity;

static text completion, model_list, events[LAST_EVENT + 1];
static char burst[(LAST_EVENT + 1) * 1024]; /* all events in one */
static size_t burst_length;

static uint64_t requests_seen, streams_seen, connections_seen;
static volatile sig_atomic_t must_report, must_stop;

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* Return memory of a new size. A mock without memory is of no use: it ends. */
static void *grown(void *memory, size_t bytes) {
    void *found = realloc(memory, bytes);
    if (!found) {
        perror("mock");
        exit(1);
    }
    return found;
}

/* --- timers ------------------------------------------------------------------------------------------------------- */

static void set_timer(int64_t due_us, int descriptor, unsigned generation) {
    if (timer_count == timer_capacity) {
        timer_capacity = timer_capacity ? timer_capacity * 2 : 1024;
        timers = grown(timers, timer_capacity * sizeof *timers);
    }
    int place = timer_count++;
    while (place && timers[(place - 1) / 2].due_us > due_us) {
        timers[place] = timers[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    timers[place] = (timer){due_us, descriptor, generation};
}

static timer take_earliest_timer(void) {
    timer earliest = timers[0], moved = timers[--timer_count];
    int place = 0;
    for (;;) {
        int child = 2 * place + 1;
        if (child >= timer_count) break;
        if (child + 1 < timer_count && timers[child + 1].due_us < timers[child].due_us) child++;
        if (timers[child].due_us >= moved.due_us) break;
        timers[place] = timers[child];
        place = child;
    }
    timers[place] = moved;
    return earliest;
}

/* --- what is answered: made once, at the start -------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void write_text(text *into, const char *format, ...) {
    va_list values;
    va_start(values, format);
    into->length = vsnprintf(into->bytes, sizeof into->bytes, format, values);
    va_end(values);
}

static void write_json_answer(text *into, const char *body) {
    write_text(into,
               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
               "x-request-id: req_mock\r\n\r\n%s",
               strlen(body), body);
}

static void make_completion(void) {
    static const char sentence[] =
        "The quick brown fox jumps over the lazy dog while the gateway counts tokens. ";
    char content[641], body[4096];
    for (size_t at = 0; at < sizeof content - 1; at++) content[at] = sentence[at % (sizeof sentence - 1)];
    content[sizeof content - 1] = 0;
    snprintf(body, sizeof body,
             "{\"id\":\"chatcmpl-mock000000000000000000001\",\"object\":\"chat.completion\",\"created\":1700000000,"
             "\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
             "\"%s\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":200,"
             "\"completion_tokens\":128,\"total_tokens\":328,\"prompt_tokens_details\":{\"cached_tokens\":0},"
             "\"completion_tokens_details\":{\"reasoning_tokens\":0}},\"system_fingerprint\":\"fp_mock\"}",
             content);
    write_json_answer(&completion, body);
}

/* Write one SSE event as a chunk of the transfer; the last one ends the answer. */
static void write_event(int number, const char *event) {
    write_text(&events[number], "%zx\r\n%s\r\n%s", strlen(event), event, number == LAST_EVENT ? "0\r\n\r\n" : "");
}

static void make_stream(void) {
    static const char opening[] =
        "data: {\"id\":\"chatcmpl-mock000000000000000000001\",\"object\":\"chat.completion.chunk\","
        "\"created\":1700000000,\"model\":\"gpt-4o-mini\"";
    char event[1024];
    write_text(&events[0],
               "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
               "x-request-id: req_mock\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int number = 1; number <= CHUNKS; number++) {
        snprintf(event, sizeof event,
                 "%s,\"system_fingerprint\":\"fp_mock\",\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\"word%02d "
                 "\"},\"logprobs\":null,\"finish_reason\":%s}],\"usage\":null}\n\n",
                 opening, number == 1 ? "\"role\":\"assistant\"," : "", number, number == CHUNKS ? "\"stop\"" : "null");
        write_event(number, event);
    }
    snprintf(event, sizeof event,
             "%s,\"system_fingerprint\":\"fp_mock\",\"choices\":[],\"usage\":{\"prompt_tokens\":200,"
             "\"completion_tokens\":50,\"total_tokens\":250}}\n\n",
             opening);
    write_event(CHUNKS + 1, event);
    write_event(LAST_EVENT, "data: [DONE]\n\n");
    for (int number = 0; number <= LAST_EVENT; number++) {
        memcpy(burst + burst_length, events[number].bytes, events[number].length);
        burst_length += events[number].length;
    }
}

static void make_answers(void) {
    make_completion();
    make_stream();
    write_json_answer(&model_list,
                      "{\"object\":\"list\",\"data\":[{\"id\":\"gpt-4o-mini\",\"object\":\"model\","
                      "\"created\":1700000000,\"owned_by\":\"mock\"}]}");
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static void watch(int descriptor, int operation, uint32_t for_events) {
    struct epoll_event wanted = {.events = for_events, .data.fd = descriptor};
    epoll_ctl(poller, operation, descriptor, &wanted);
}

static void drop(int descriptor) {
    connection *client = connections[descriptor];
    if (client && client->alive) {
        client->alive = false;
        client->generation++;
        client->input_length = client->output_length = client->output_sent = 0;
    }
    epoll_ctl(poller, EPOLL_CTL_DEL, descriptor, NULL);
    close(descriptor);
}

/* Send what the socket takes now and keep the rest for later. False: the connection is gone. */
static bool send_or_keep(int descriptor, const char *bytes, size_t length) {
    connection *client = connections[descriptor];
    if (client->output_length == client->output_sent) {
        ssize_t sent = send(descriptor, bytes, length, MSG_NOSIGNAL);
        if (sent == (ssize_t)length) return true;
        if (sent < 0 && errno != EAGAIN) {
            drop(descriptor);
            return false;
        }
        if (sent > 0) {
            bytes += sent;
            length -= sent;
        }
        client->output_length = client->output_sent = 0;
    }
    if (client->output_length + length > client->output_capacity) {
        client->output_capacity = (client->output_length + length) * 2;
        client->output = grown(client->output, client->output_capacity);
    }
    memcpy(client->output + client->output_length, bytes, length);
    client->output_length += length;
    watch(descriptor, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    return true;
}

/* Send what was kept. False: the connection is gone. */
static bool send_kept(int descriptor) {
    connection *client = connections[descriptor];
    ssize_t sent = send(descriptor, client->output + client->output_sent, client->output_length - client->output_sent,
                        MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        drop(descriptor);
        return false;
    }
    if (sent > 0) client->output_sent += sent;
    if (client->output_sent == client->output_length) watch(descriptor, EPOLL_CTL_MOD, EPOLLIN);
    return true;
}

/* --- answering ---------------------------------------------------------------------------------------------------- */

static void take_requests(int descriptor);

static void finish_answer(int descriptor) {
    connections[descriptor]->phase = IDLE;
    if (connections[descriptor]->input_length) take_requests(descriptor);
}

/* The head goes out with the first event, as real servers do. */
static bool send_first_event(int descriptor) {
    char both[2048];
    memcpy(both, events[0].bytes, events[0].length);
    memcpy(both + events[0].length, events[1].bytes, events[1].length);
    return send_or_keep(descriptor, both, events[0].length + events[1].length);
}

static void send_whole_stream(int descriptor) {
    if (!connections[descriptor]->door->writes) {
        if (send_or_keep(descriptor, burst, burst_length)) finish_answer(descriptor);
        return;
    }
    if (!send_first_event(descriptor)) return;
    for (int number = 2; number <= LAST_EVENT; number++)
        if (!send_or_keep(descriptor, events[number].bytes, events[number].length)) return;
    finish_answer(descriptor);
}

static void send_next_event(int descriptor) {
    connection *client = connections[descriptor];
    if (client->next_event == 0) {
        if (!send_first_event(descriptor)) return;
        client->next_event = 2;
    } else {
        const text *event = &events[client->next_event];
        if (!send_or_keep(descriptor, event->bytes, event->length)) return;
        client->next_event++;
    }
    if (client->next_event > LAST_EVENT)
        finish_answer(descriptor);
    else
        set_timer(now_us() + client->chunk_delay_ms * 1000LL, descriptor, client->generation);
}

/* Send the answer, or the next part of it. */
static void advance(int descriptor) {
    connection *client = connections[descriptor];
    if (client->kind == STREAM) {
        if (client->chunk_delay_ms)
            send_next_event(descriptor);
        else
            send_whole_stream(descriptor);
        return;
    }
    const text *answer = client->kind == MODEL_LIST ? &model_list : &completion;
    if (send_or_keep(descriptor, answer->bytes, answer->length)) finish_answer(descriptor);
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

static bool holds(const char *bytes, size_t length, const char *word) {
    return memmem(bytes, length, word, strlen(word)) != NULL;
}

/* Return the length of a chunked body that begins here; 0 while it is not whole. */
static size_t chunked_length(const char *body, size_t available) {
    const char *at = body, *end = body + available;
    for (;;) {
        const char *line_end = memmem(at, end - at, "\r\n", 2);
        if (!line_end) return 0;
        size_t chunk = strtoul(at, NULL, 16);
        at = line_end + 2;
        if ((size_t)(end - at) < chunk + 2) return 0;
        at += chunk + 2;
        if (!chunk) return at - body;
    }
}

/* Find the body of the request at the input's begin. Returns the request's length; 0 while it is not whole. */
static size_t whole_request(connection *client, const char **body) {
    char *head_end = memmem(client->input, client->input_length, "\r\n\r\n", 4);
    if (!head_end) return 0;
    size_t head_length = head_end - client->input + 4, content_length = 0;
    bool chunked = false;
    *head_end = 0; /* the head is a string for a moment */
    for (char *line = strstr(client->input, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15))
            content_length = strtoul(line + 15, NULL, 10);
        else if (!strncasecmp(line, "transfer-encoding:", 18) && strcasestr(line, "chunked"))
            chunked = true;
    }
    *head_end = '\r';
    *body = client->input + head_length;
    size_t available = client->input_length - head_length;
    if (chunked) {
        size_t length = chunked_length(*body, available);
        return length ? head_length + length : 0;
    }
    return available < content_length ? 0 : head_length + content_length;
}

/* Decide what is answered, and how fast. */
static void choose_answer(connection *client, const char *body, size_t length) {
    bool is_get = client->input[0] == 'G' || client->input[0] == 'H';
    bool streams = holds(body, length, "\"stream\":true") || holds(body, length, "\"stream\": true");
    client->kind = is_get ? MODEL_LIST : streams ? STREAM : COMPLETION;
    client->latency_ms = client->door->latency_ms;
    client->chunk_delay_ms = client->door->chunk_delay_ms;
    if (holds(body, length, "\"gpt-4o\""))
        client->chunk_delay_ms = SLOW_CHUNK_MS;
    else if (holds(body, length, "\"gpt-4.1\""))
        client->latency_ms = SLOW_START_MS;
    requests_seen++;
    streams_seen += client->kind == STREAM;
}

/* Answer the next request if it is there as a whole and none is being answered. */
static void take_requests(int descriptor) {
    connection *client = connections[descriptor];
    if (client->phase != IDLE || !client->input_length) return;
    client->input[client->input_length] = 0;
    const char *body;
    size_t length = whole_request(client, &body);
    if (!length) return;
    choose_answer(client, body, length - (body - client->input));
    client->input_length -= length;
    memmove(client->input, client->input + length, client->input_length);
    client->phase = ANSWERING;
    client->next_event = 0;
    if (client->latency_ms)
        set_timer(now_us() + client->latency_ms * 1000LL, descriptor, client->generation);
    else
        advance(descriptor);
}

static void read_input(int descriptor) {
    connection *client = connections[descriptor];
    if (client->input_length == client->input_capacity) {
        client->input_capacity *= 2;
        client->input = grown(client->input, client->input_capacity + 1);
    }
    ssize_t received = recv(descriptor, client->input + client->input_length,
                            client->input_capacity - client->input_length, 0);
    if (received == 0 || (received < 0 && errno != EAGAIN)) {
        drop(descriptor);
        return;
    }
    if (received > 0) {
        client->input_length += received;
        take_requests(descriptor);
    }
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static void adopt(int descriptor, const listener *door) {
    int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection *client = connections[descriptor];
    if (!client) {
        client = connections[descriptor] = grown(NULL, sizeof *client);
        *client = (connection){.input_capacity = FIRST_INPUT_BYTES, .input = grown(NULL, FIRST_INPUT_BYTES + 1)};
    }
    client->alive = true;
    client->door = door;
    client->phase = IDLE;
    client->input_length = client->output_length = client->output_sent = 0;
    client->generation++;
    connections_seen++;
    watch(descriptor, EPOLL_CTL_ADD, EPOLLIN);
}

static void accept_all(const listener *door) {
    for (;;) {
        int descriptor = accept4(door->descriptor, NULL, NULL, SOCK_NONBLOCK);
        if (descriptor < 0) return;
        if (descriptor >= MOST_DESCRIPTORS) {
            close(descriptor);
            return;
        }
        adopt(descriptor, door);
    }
}

static const listener *listener_of(int descriptor) {
    for (int number = 0; number < listener_count; number++)
        if (listeners[number].descriptor == descriptor) return &listeners[number];
    return NULL;
}

static void serve_event(int descriptor, uint32_t what) {
    const listener *door = listener_of(descriptor);
    if (door) {
        accept_all(door);
        return;
    }
    connection *client = connections[descriptor];
    if (!client || !client->alive) return;
    if ((what & EPOLLOUT) && !send_kept(descriptor)) return;
    if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_input(descriptor);
}

static void run_due_timers(void) {
    int64_t now = now_us();
    while (timer_count && timers[0].due_us <= now) {
        timer due = take_earliest_timer();
        connection *client = connections[due.descriptor];
        if (client && client->alive && client->generation == due.generation) advance(due.descriptor);
    }
}

static void report(void) {
    fprintf(stderr, "requests=%lu streams=%lu connections=%lu\n", requests_seen, streams_seen, connections_seen);
}

static void on_signal(int number) {
    if (number == SIGUSR1)
        must_report = 1;
    else
        must_stop = 1;
}

/* Listen as one argument says. False: it is not understood, or the port is taken. */
static bool listen_as(const char *argument) {
    listener *door = &listeners[listener_count];
    door->writes = 1;
    int given = sscanf(argument, "%d:%d:%d:%d", &door->port, &door->latency_ms, &door->chunk_delay_ms, &door->writes);
    if (given < 1) return false;
    door->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int on = 1;
    setsockopt(door->descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(door->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(door->descriptor, (struct sockaddr *)&address, sizeof address) || listen(door->descriptor, 4096))
        return false;
    watch(door->descriptor, EPOLL_CTL_ADD, EPOLLIN);
    listener_count++;
    return true;
}

/* Wait for events, until the earliest timer is due at most. Returns their number. */
static int wait_for(struct epoll_event *found) {
    struct timespec patience, *limit = NULL;
    if (timer_count) {
        int64_t left_us = timers[0].due_us - now_us();
        if (left_us < 0) left_us = 0;
        patience = (struct timespec){left_us / 1000000, left_us % 1000000 * 1000};
        limit = &patience;
    }
    return epoll_pwait2(poller, found, EVENTS_PER_WAIT, limit, NULL);
}

int main(int argument_count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    make_answers();
    poller = epoll_create1(0);
    for (int at = 1; at < argument_count && listener_count < MOST_LISTENERS; at++) {
        if (!listen_as(arguments[at])) {
            fprintf(stderr, "mock: cannot listen as %s says: %s\n", arguments[at], strerror(errno));
            return 1;
        }
    }
    struct epoll_event found[EVENTS_PER_WAIT];
    while (!must_stop) {
        if (must_report) {
            must_report = 0;
            report();
        }
        int count = wait_for(found);
        for (int at = 0; at < count; at++) serve_event(found[at].data.fd, found[at].events);
        run_due_timers();
    }
    report();
    return 0;
}
