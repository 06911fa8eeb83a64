/* Shows replies on standard output: tables for people, JSON for programs. Both implement one struct
 * of functions, and verbs use only this struct. */
#pragma once

#include "common/units.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct libscols_table;

/* What the command is about, for messages. NULL where it does not apply. */
struct subject {
    const char *file; /* the model's file, safe to show */
    const char *model;
    const char *layer;
    const char *policy;
    uint64_t elapsed_usec; /* how long a load took; 0: unknown */
    bool is_folder;        /* `file` is one, which may not be meant */
    bool has_default_name; /* the model's name comes from its file, and --name could change it */
};

struct output {
    const struct output_ops *ops;
    FILE *stream;
    bool color;                   /* use colours, on a terminal */
    unsigned width;               /* columns; 0: not a terminal, so there is no limit */
    struct libscols_table *table; /* of a list that comes in several replies */
};

/* Shows the parameters of one reply. Replies that are shown as text must have passed safe_json. 0,
 * -ENOMEM, or -EBADMSG if the interface does not describe such a reply. output_flush reports errors
 * of the stream. */
typedef int (*output_function)(struct output *output, const struct subject *subject,
                               json_t *parameters);

struct output_ops {
    output_function load_model, load_layer, unload, reset;
    output_function already_loaded; /* --if-absent, and the daemon knows the model */
    output_function list;           /* one reply of a list */
    output_function list_end;       /* after the last reply; parameters are NULL */
    /* For a list of tensors, instead of `list`: a layer, and one reply with tensors of it. */
    output_function list_layer, list_tensors;
    output_function list_units; /* a layer of model_units.h, instead of `list` */
    output_function
        list_unit_groups; /* or all layers of a model that is cut into units; only text */
    output_function stats, views, why, event, policy, policy_set, version;
    output_function plan;        /* the load, step by step */
    output_function plan_passes; /* after `plan`, from the same reply: the run */
    /* For a plan with several policies, instead of `plan`: `plan_policy` shows the load of one
     * policy in a line, and its run. `plan_comparison` then compares all policies; its parameters
     * are the array of the replies. */
    output_function plan_policy, plan_comparison;
    /* One of several hosts: {"host": ..., "stats": ...} or {"host": ..., "error": ...}. After the
     * last one, `hosts_end` with NULL. */
    output_function host, hosts_end;
    output_function replay; /* of a route trace, or of a guessed one */
    /* {"error": wire name, "parameters": ...}; the message for people goes to standard error. */
    output_function error;
};

extern const struct output_ops output_text;
extern const struct output_ops output_json;
/* Shows requested information as text, but no reports of what was done. */
extern const struct output_ops output_quiet;

/* Parts of output_text that are in other files. */
int output_text_stats(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_host(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_hosts_end(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_views(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_why(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_list(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_list_end(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_list_layer(struct output *output, const struct subject *subject,
                           json_t *parameters);
int output_text_list_tensors(struct output *output, const struct subject *subject,
                             json_t *parameters);
int output_text_list_units(struct output *output, const struct subject *subject, json_t *layer);
int output_text_list_unit_groups(struct output *output, const struct subject *subject,
                                 json_t *layers);
int output_text_plan(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_plan_steps(struct output *output, const struct subject *subject,
                           json_t *parameters);
int output_text_plan_passes(struct output *output, const struct subject *subject,
                            json_t *parameters);
int output_text_plan_policy(struct output *output, const struct subject *subject,
                            json_t *parameters);
int output_text_plan_comparison(struct output *output, const struct subject *subject,
                                json_t *replies);
int output_text_replay(struct output *output, const struct subject *subject, json_t *parameters);

/* Sets width and colours from the stream, the terminal, and NO_COLOR, TERM and COLUMNS. */
void output_init(struct output *output, const struct output_ops *ops, FILE *stream);
void output_done(struct output *output);

/* Writes everything that is buffered. 0; -EPIPE if the reader has gone; or another negative errno.
 */
int output_flush(struct output *output);

/* A reply's number as text, and as a size. A negative size is invalid and counts as zero. */
enum { NUMBER_TEXT_MAX = 24 };
const char *output_number(json_int_t value, char text[static NUMBER_TEXT_MAX]);
const char *output_size(json_int_t bytes, char text[static SIZE_TEXT_MAX]);

/* "s", but "" for one. */
const char *output_plural(json_int_t n);

/* "14:03:07", of a time since 1970; "" if there is no such time. */
enum { CLOCK_TEXT_MAX = 16 };
const char *output_clock(uint64_t usec, char text[static CLOCK_TEXT_MAX]);

/* The width of the terminal if `stream` is one, otherwise 0. */
unsigned output_terminal_width(FILE *stream);
