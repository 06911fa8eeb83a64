/* How replies are shown on standard output: tables for people, JSON for programs. Two
 * implementations of one struct of functions; verbs know only this one. */
#pragma once

#include "common/units.h"

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
    bool has_default_name; /* the model goes by its file's name, and could go by another */
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
    output_function already_loaded; /* a load that --if-absent made needless */
    output_function list;           /* a part of the list ... */
    output_function list_end;       /* ... and its end; parameters are NULL */
    /* Instead, for a list of tensors: each layer, as `list` has it, and parts of its tensors. */
    output_function list_layer, list_tensors;
    output_function stats, views, event, policy, policy_set, version;
    output_function plan;        /* the load, step by step ... */
    output_function plan_passes; /* ... and then, from the same reply, the run */
    /* Instead, when several policies are asked for: the load in a line and the run of each, and at
     * the end all of them beside each other; its parameters are an array of the replies. */
    output_function plan_policy, plan_comparison;
    /* {"error": wire name, "parameters": ...}; the message for people goes to standard error. */
    output_function error;
};

extern const struct output_ops output_text;
extern const struct output_ops output_json;
extern const struct output_ops
    output_quiet; /* what was asked for as text, what was done not at all */

/* The text's statistics screen, its tables and its plans, in files of their own. */
int output_text_stats(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_views(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_list(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_list_end(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_list_layer(struct output *output, const struct subject *subject,
                           json_t *parameters);
int output_text_list_tensors(struct output *output, const struct subject *subject,
                             json_t *parameters);
int output_text_plan(struct output *output, const struct subject *subject, json_t *parameters);
int output_text_plan_steps(struct output *output, const struct subject *subject,
                           json_t *parameters);
int output_text_plan_passes(struct output *output, const struct subject *subject,
                            json_t *parameters);
int output_text_plan_policy(struct output *output, const struct subject *subject,
                            json_t *parameters);
int output_text_plan_comparison(struct output *output, const struct subject *subject,
                                json_t *replies);

/* Looks at the stream, the environment's NO_COLOR, TERM and COLUMNS, and the terminal. */
void output_init(struct output *output, const struct output_ops *ops, FILE *stream);
void output_done(struct output *output);

/* Hands everything to the system. 0; -EPIPE when the reader has gone; or another negative errno. */
int output_flush(struct output *output);

/* A reply's number as text, and as a size; a size below zero, which no interface allows, is zero.
 */
enum { NUMBER_TEXT_MAX = 24 };
const char *output_number(json_int_t value, char text[static NUMBER_TEXT_MAX]);
const char *output_size(json_int_t bytes, char text[static SIZE_TEXT_MAX]);

/* Columns of the terminal that `stream` is, or 0. */
unsigned output_terminal_width(FILE *stream);
