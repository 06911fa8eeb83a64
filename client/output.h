/* How replies are shown on standard output: tables for people, JSON for programs. Two
 * implementations of one struct of functions; verbs know only this one. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct libscols_table;

/* What the command is about, for the sake of messages; NULL where it does not apply. */
struct subject {
    const char *file; /* that says what the model is, safe to show */
    const char *model;
    const char *layer;
    const char *policy;
    uint64_t elapsed_usec; /* that a load took; 0: unknown */
};

struct output {
    const struct output_ops *ops;
    FILE *stream;
    bool color;                   /* the reader is a person at a terminal who wants it */
    unsigned width;               /* columns; 0: no limit, it is no terminal */
    struct libscols_table *table; /* of a list that comes in several replies */
};

/* Shows the parameters of one reply; text replies must have passed safe_json. 0, -ENOMEM, or
 * -EBADMSG if the reply is not what the interface describes. Errors of the stream are left to
 * output_flush. */
typedef int (*output_function)(struct output *output, const struct subject *subject,
                               json_t *parameters);

struct output_ops {
    output_function load_model, load_layer, unload, reset;
    output_function list;     /* a part of the list ... */
    output_function list_end; /* ... and its end; parameters are NULL */
    /* Instead, for a list of tensors: each layer, as `list` has it, and parts of its tensors. */
    output_function list_layer, list_tensors;
    output_function stats, plan, event, policy, version;
    /* {"error": wire name, "parameters": ...}; the message for people goes to standard error. */
    output_function error;
};

extern const struct output_ops output_text;
extern const struct output_ops output_json;

/* The text's statistics screen and its tables, in files of their own. */
int output_text_stats(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_list(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_list_end(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_list_layer(struct output *output, const struct subject *subject,
                           json_t *parameters);
int output_text_list_tensors(struct output *output, const struct subject *subject,
                             json_t *parameters);
int output_text_plan(struct output *output, const struct subject *subject, json_t *parameters);

/* Looks at the stream, the environment's NO_COLOR, TERM and COLUMNS, and the terminal. */
void output_init(struct output *output, const struct output_ops *ops, FILE *stream);
void output_done(struct output *output);

/* Hands everything to the system. 0; -EPIPE when the reader has gone; or another negative errno. */
int output_flush(struct output *output);

/* Columns of the terminal that `stream` is, or 0. */
unsigned output_terminal_width(FILE *stream);
