/* loadgen.c: a load generator for OpenAI-style endpoints over HTTP/1.1, closed-loop or at a fixed rate. One thread, epoll.
 *
 *   loadgen -p PORT [-u PATH] [-c CONNECTIONS] [-d SECONDS | -n REQUESTS] [-w WARM_UP_SECONDS] [-s] [-D] [-k KEY]
 *           [-m MODEL] [-b BODY_BYTES] [-H "Name: value"]... [-r RATE] [-x "further JSON members"] [-U 1]
 *
 *   -s  asks for a stream, whose answer must hold "data: [DONE]"; with -D it need not
 *   -r  requests a second, as an open loop over the connections: latency counts from when a request was due
 *   -U  makes every prompt another one, which defeats caches
 *
 * It connects to 127.0.0.1 only. Requests in flight at the end are let finish, for 6 s at most: they count in "total"
 * and in nothing else; those that do not finish are "abandoned". Prints one line of JSON; latencies are microseconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
    HEAD_BYTES = 131072,  /* the longest head of an answer */
    READ_BYTES = 262144,
    EVENTS_PER_WAIT = 1024,
    SEND_TIMEOUT_SECONDS = 30,
    LINGER_US = 6000000,         /* for what is in flight at the end */
    LONGEST_RUN_US = 600000000,  /* with -n: then it gives up */
    MARK_BYTES = 12,             /* "data: [DONE]" */
};
static const char DONE[] = "data: [DONE]";
static const char UNIQUE_PLACE[] = "0000000000000000";

/* Where the parser is in a chunked body. */
typedef enum { SIZE_LINE, CHUNK, AFTER_CHUNK, TRAILER } chunk_state;
typedef enum { WANTS_MORE, WHOLE, BROKEN } verdict;

typedef struct {
    int descriptor; /* -1: not connected */
    bool busy;
    int64_t due_us, first_byte_us;
    /* the answer so far */
    bool head_read, chunked, closes, done_seen;
    int status;
    long content_length, received, chunk_left; /* content_length -1: not told */
    chunk_state state;
    char size_line[32];
    int size_line_length;
    char tail[MARK_BYTES]; /* the last bytes of the body: the mark may be split over two reads */
    int tail_length;
    int head_length;
    char head[HEAD_BYTES];
} connection;

static struct {
    int port, connections;
    const char *path, *key, *model, *members;
    char headers[4096];
    double seconds, warm_up_seconds, rate;
    long requests, body_bytes;
    bool streams, needs_no_done, unique;
} options = {.connections = 1, .path = "/v1/chat/completions", .key = "sk-test", .model = "gpt-4o-mini", .members = "",
             .seconds = 5, .body_bytes = 600};

static struct {
    uint64_t ok, errors, bad_status, bad_connection, no_done, total, events;
    int first_bad_status;
    char first_bad_body[301];
    uint32_t *latencies, *first_bytes;
    size_t count, capacity;
    long missed; /* requests that were due while every connection was busy */
} figures;

static char *request;
static size_t request_length, unique_offset;
static connection *connections;
static int poller;
static bool measuring;
static uint64_t started, started_before_measuring;

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void *grown(void *memory, size_t bytes) {
    void *found = realloc(memory, bytes);
    if (!found) {
        perror("loadgen");
        exit(1);
    }
    return found;
}

/* --- the request, which is the same every time -------------------------------------------------------------------- */

static char *prompt_of(long bytes) {
    static const char sentence[] = "Please summarise the following paragraph for a busy reader. ";
    char *prompt = grown(NULL, bytes + 1);
    for (long at = 0; at < bytes; at++) prompt[at] = sentence[at % (sizeof sentence - 1)];
    prompt[bytes] = 0;
    return prompt;
}

static void make_request(void) {
    char *prompt = prompt_of(options.body_bytes), *body;
    int body_length =
        asprintf(&body,
                 "{\"model\":\"%s\",\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"},"
                 "{\"role\":\"user\",\"content\":\"%s %s\"}],\"temperature\":0.7,\"max_tokens\":256%s%s}",
                 options.model, UNIQUE_PLACE, prompt,
                 options.streams ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : "",
                 options.members);
    int length = asprintf(&request,
                          "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: loadgen\r\nAccept: */*\r\n"
                          "Authorization: Bearer %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
                          options.path, options.port, options.key, options.headers, body_length, body);
    if (body_length < 0 || length < 0) exit(1);
    request_length = length;
    unique_offset = strstr(request, UNIQUE_PLACE) - request;
    free(prompt);
    free(body);
}

static void make_unique(void) {
    static uint64_t number;
    char text[17];
    snprintf(text, sizeof text, "%016lx", (unsigned long)(++number * 0x9E3779B97F4A7C15ULL));
    memcpy(request + unique_offset, text, 16);
}

/* --- connections -------------------------------------------------------------------------------------------------- */

static bool connect_to_target(connection *client) {
    client->descriptor = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(client->descriptor, (struct sockaddr *)&address, sizeof address)) {
        close(client->descriptor);
        client->descriptor = -1;
        return false;
    }
    int on = 1;
    struct timeval patience = {SEND_TIMEOUT_SECONDS, 0};
    setsockopt(client->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(client->descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = client};
    epoll_ctl(poller, EPOLL_CTL_ADD, client->descriptor, &wanted);
    return true;
}

static void disconnect(connection *client) {
    close(client->descriptor);
    client->descriptor = -1;
}

static void count_broken_connection(void) {
    if (!measuring) return;
    figures.bad_connection++;
    figures.errors++;
}

static void forget_answer(connection *client) {
    client->head_read = client->chunked = client->closes = client->done_seen = false;
    client->status = client->head_length = client->size_line_length = client->tail_length = 0;
    client->content_length = -1;
    client->received = client->chunk_left = 0;
    client->first_byte_us = 0;
    client->state = SIZE_LINE;
}

/* Send the next request. Without a connection it counts as an error, and the connection stays idle. */
static void send_request(connection *client, int64_t due_us) {
    forget_answer(client);
    client->busy = false;
    if (client->descriptor < 0 && !connect_to_target(client)) {
        count_broken_connection();
        return;
    }
    if (options.unique) make_unique();
    client->due_us = due_us;
    client->busy = true;
    started++;
    for (size_t sent = 0; sent < request_length;) {
        ssize_t taken = send(client->descriptor, request + sent, request_length - sent, MSG_NOSIGNAL);
        if (taken <= 0) {
            disconnect(client);
            client->busy = false;
            count_broken_connection();
            return;
        }
        sent += taken;
    }
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* Look for the end mark, in what is new and across the seam with what came before. */
static void look_for_done(connection *client, const char *bytes, long length) {
    char seam[2 * MARK_BYTES];
    int head = length < MARK_BYTES ? (int)length : MARK_BYTES;
    memcpy(seam, client->tail, client->tail_length);
    memcpy(seam + client->tail_length, bytes, head);
    if (memmem(seam, client->tail_length + head, DONE, MARK_BYTES) || memmem(bytes, length, DONE, MARK_BYTES))
        client->done_seen = true;
    if (length >= MARK_BYTES) {
        memcpy(client->tail, bytes + length - MARK_BYTES, MARK_BYTES);
        client->tail_length = MARK_BYTES;
        return;
    }
    int kept = client->tail_length + head;
    int surplus = kept > MARK_BYTES ? kept - MARK_BYTES : 0;
    memcpy(client->tail, seam + surplus, kept - surplus);
    client->tail_length = kept - surplus;
}

/* Take body bytes, out of their chunks already. */
static void take_body(connection *client, const char *bytes, long length) {
    if (length <= 0) return;
    if (!client->first_byte_us) client->first_byte_us = now_us();
    if (!options.streams) return;
    look_for_done(client, bytes, length);
    for (const char *at = bytes; (at = memmem(at, bytes + length - at, "data: ", 6)); at += 6) figures.events++;
}

static verdict take_chunks(connection *client, const char *bytes, long length) {
    const char *end = bytes + length;
    while (bytes < end) {
        if (client->state == CHUNK) {
            long taken = end - bytes < client->chunk_left ? end - bytes : client->chunk_left;
            take_body(client, bytes, taken);
            bytes += taken;
            client->chunk_left -= taken;
            if (!client->chunk_left) client->state = AFTER_CHUNK;
            continue;
        }
        char byte = *bytes++;
        if (byte != '\n') {
            if (client->state == SIZE_LINE && client->size_line_length < 30)
                client->size_line[client->size_line_length++] = byte;
            continue;
        }
        if (client->state == TRAILER) return WHOLE;
        if (client->state == AFTER_CHUNK) {
            client->state = SIZE_LINE;
            continue;
        }
        client->size_line[client->size_line_length] = 0;
        client->size_line_length = 0;
        client->chunk_left = strtol(client->size_line, NULL, 16);
        client->state = client->chunk_left ? CHUNK : TRAILER;
    }
    return WANTS_MORE;
}

static verdict take_rest(connection *client, const char *bytes, long length) {
    if (client->chunked) return take_chunks(client, bytes, length);
    take_body(client, bytes, length);
    client->received += length;
    return client->content_length >= 0 && client->received >= client->content_length ? WHOLE : WANTS_MORE;
}

static void read_head(connection *client) {
    client->status = atoi(client->head + sizeof "HTTP/1.1");
    for (char *line = strstr(client->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15))
            client->content_length = atol(line + 15);
        else if (!strncasecmp(line, "transfer-encoding:", 18))
            client->chunked = true;
        else if (!strncasecmp(line, "connection: close", 17))
            client->closes = true;
    }
}

/* Take what was received. */
static verdict take(connection *client, const char *bytes, long length) {
    if (client->head_read) return take_rest(client, bytes, length);
    if (client->head_length + length > HEAD_BYTES - 1) return BROKEN;
    memcpy(client->head + client->head_length, bytes, length);
    client->head_length += length;
    client->head[client->head_length] = 0;
    char *head_end = strstr(client->head, "\r\n\r\n");
    if (!head_end) return WANTS_MORE;
    *head_end = 0;
    const char *rest = head_end + 4;
    long rest_length = client->head + client->head_length - rest;
    read_head(client);
    if (client->status == 100) { /* "Continue": the answer's own head follows */
        static char following[HEAD_BYTES];
        memcpy(following, rest, rest_length);
        client->head_length = 0;
        return rest_length ? take(client, following, rest_length) : WANTS_MORE;
    }
    client->head_read = true;
    if (client->status != 200 && !figures.first_bad_status) {
        figures.first_bad_status = client->status;
        snprintf(figures.first_bad_body, sizeof figures.first_bad_body, "%.*s", (int)rest_length, rest);
    }
    return take_rest(client, rest, rest_length);
}

/* --- counting ----------------------------------------------------------------------------------------------------- */

static void note_times(const connection *client) {
    int64_t now = now_us();
    if (figures.count == figures.capacity) {
        figures.capacity = figures.capacity ? figures.capacity * 2 : 1 << 20;
        figures.latencies = grown(figures.latencies, figures.capacity * sizeof *figures.latencies);
        figures.first_bytes = grown(figures.first_bytes, figures.capacity * sizeof *figures.first_bytes);
    }
    figures.latencies[figures.count] = now - client->due_us;
    figures.first_bytes[figures.count++] = (client->first_byte_us ? client->first_byte_us : now) - client->due_us;
}

static void count_answer(connection *client, verdict ended) {
    client->busy = false;
    figures.total++;
    bool lacks_done = options.streams && !options.needs_no_done && !client->done_seen;
    bool good = ended == WHOLE && client->status == 200 && !lacks_done;
    if (!measuring) return;
    if (good) {
        figures.ok++;
        note_times(client);
        return;
    }
    figures.errors++;
    if (ended == BROKEN)
        figures.bad_connection++;
    else if (client->status != 200)
        figures.bad_status++;
    else
        figures.no_done++;
}

static int by_size(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

/* Return a quantile of sorted values, 0 of none. */
static uint32_t quantile(const uint32_t *values, double share) {
    return figures.count ? values[(size_t)((figures.count - 1) * share)] : 0;
}

static int still_busy(void) {
    int count = 0;
    for (int at = 0; at < options.connections; at++) count += connections[at].busy;
    return count;
}

static void report(double seconds) {
    const uint32_t *latencies = figures.latencies, *first_bytes = figures.first_bytes;
    double sum = 0;
    for (size_t at = 0; at < figures.count; at++) sum += latencies[at];
    if (figures.count) {
        qsort(figures.latencies, figures.count, sizeof *latencies, by_size);
        qsort(figures.first_bytes, figures.count, sizeof *first_bytes, by_size);
    }
    printf("{\"connections\":%d,\"stream\":%s,\"seconds\":%.3f,\"ok\":%lu,\"errors\":%lu,\"bad_status\":%lu,"
           "\"bad_connection\":%lu,\"no_done\":%lu,\"first_bad_status\":%d,\"rps\":%.1f,\"mean_us\":%.1f,"
           "\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"p999_us\":%u,\"max_us\":%u,\"ttfb_p50_us\":%u,"
           "\"ttfb_p99_us\":%u,\"events\":%lu,\"missed\":%ld,\"total\":%lu,\"abandoned\":%d}\n",
           options.connections, options.streams ? "true" : "false", seconds, figures.ok, figures.errors,
           figures.bad_status, figures.bad_connection, figures.no_done, figures.first_bad_status,
           seconds > 0 ? figures.ok / seconds : 0, figures.count ? sum / figures.count : 0, quantile(latencies, .5),
           quantile(latencies, .9), quantile(latencies, .99), quantile(latencies, .999), quantile(latencies, 1),
           quantile(first_bytes, .5), quantile(first_bytes, .99), figures.events, figures.missed, figures.total,
           still_busy());
    if (figures.first_bad_status)
        fprintf(stderr, "first bad answer %d: %s\n", figures.first_bad_status, figures.first_bad_body);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t warm_until, ends_at, measured_from, stopped_at, gives_up_at;
    double next_due; /* at a fixed rate */
    bool stopping;
} course;

static bool enough_started(void) {
    return options.requests > 0 && measuring &&
           (long)(started - started_before_measuring) >= options.requests;
}

static void keep_course(course *run, int64_t now) {
    if (!measuring && !run->stopping && now >= run->warm_until) {
        measuring = true;
        run->measured_from = now;
        started_before_measuring = started;
    }
    bool over = options.requests ? enough_started() : now >= run->ends_at;
    if (!run->stopping && (over || now > run->gives_up_at)) {
        run->stopping = true;
        run->stopped_at = now;
        if (!options.requests) measuring = false;
    }
}

static bool is_finished(const course *run, int64_t now) {
    if (!run->stopping) return false;
    if (now > (options.requests ? run->gives_up_at : run->stopped_at + LINGER_US)) return true;
    return still_busy() == 0;
}

static void send_what_is_due(course *run, int64_t now) {
    while (run->next_due <= now) {
        int idle = 0;
        while (idle < options.connections && connections[idle].busy) idle++;
        if (idle == options.connections) {
            figures.missed++;
            return;
        }
        send_request(&connections[idle], (int64_t)run->next_due);
        run->next_due += 1e6 / options.rate;
    }
}

static void serve(connection *client, const course *run) {
    static char received[READ_BYTES];
    if (client->descriptor < 0) return;
    ssize_t length = recv(client->descriptor, received, sizeof received, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN) return;
    verdict ended;
    if (length > 0) {
        ended = take(client, received, length);
    } else {
        /* An answer of untold length ends with its connection; any other is broken by that. */
        bool untold = client->head_read && !client->chunked && client->content_length < 0;
        ended = client->busy && untold ? WHOLE : BROKEN;
        disconnect(client);
    }
    if (ended == WANTS_MORE) return;
    if (client->busy) count_answer(client, ended);
    if (client->descriptor >= 0 && (client->closes || ended == BROKEN)) disconnect(client);
    if (options.rate <= 0 && !run->stopping && !enough_started()) send_request(client, now_us());
}

/* Return how long epoll may wait, in milliseconds: not at all when the next request is due soon. */
static int patience_ms(const course *run) {
    if (options.rate <= 0) return 50;
    return run->next_due - now_us() > 2000 ? 1 : 0;
}

static void run_load(course *run) {
    struct epoll_event found[EVENTS_PER_WAIT];
    if (options.rate <= 0)
        for (int at = 0; at < options.connections; at++) send_request(&connections[at], now_us());
    for (;;) {
        int64_t now = now_us();
        keep_course(run, now);
        if (is_finished(run, now)) return;
        if (options.rate > 0 && !run->stopping) send_what_is_due(run, now);
        int count = epoll_wait(poller, found, EVENTS_PER_WAIT, patience_ms(run));
        for (int at = 0; at < count; at++) serve(found[at].data.ptr, run);
    }
}

static bool read_options(int count, char **arguments) {
    int letter;
    while ((letter = getopt(count, arguments, "p:u:c:d:n:w:sk:m:b:H:r:x:U:D")) > 0) {
        switch (letter) {
        case 'p': options.port = atoi(optarg); break;
        case 'u': options.path = optarg; break;
        case 'c': options.connections = atoi(optarg); break;
        case 'd': options.seconds = atof(optarg); break;
        case 'n': options.requests = atol(optarg); break;
        case 'w': options.warm_up_seconds = atof(optarg); break;
        case 's': options.streams = true; break;
        case 'D': options.needs_no_done = true; break;
        case 'k': options.key = optarg; break;
        case 'm': options.model = optarg; break;
        case 'b': options.body_bytes = atol(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'x': options.members = optarg; break;
        case 'U': options.unique = atoi(optarg); break;
        case 'H':
            if (strlen(options.headers) + strlen(optarg) + 3 > sizeof options.headers) return false;
            strcat(strcat(options.headers, optarg), "\r\n");
            break;
        default: return false;
        }
    }
    return options.port > 0 && options.connections > 0;
}

int main(int count, char **arguments) {
    if (!read_options(count, arguments)) return 2;
    make_request();
    poller = epoll_create1(0);
    connections = calloc(options.connections, sizeof *connections);
    if (!connections) return 1;
    for (int at = 0; at < options.connections; at++) {
        if (!connect_to_target(&connections[at])) {
            fprintf(stderr, "loadgen: cannot connect to port %d: %s\n", options.port, strerror(errno));
            return 1;
        }
    }
    int64_t start = now_us(), warm_until = start + (int64_t)(options.warm_up_seconds * 1e6);
    int64_t ends_at = warm_until + (int64_t)(options.seconds * 1e6);
    course run = {warm_until, ends_at, start, 0, ends_at + LONGEST_RUN_US, (double)start, false};
    measuring = options.warm_up_seconds <= 0;
    run_load(&run);
    report(((options.requests ? now_us() : run.stopped_at) - run.measured_from) / 1e6);
    return 0;
}
