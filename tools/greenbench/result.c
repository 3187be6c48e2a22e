/* SPDX-License-Identifier: MIT
 *
 * Printing results: JSON lines for programs, a table for people.
 */
#include "result.h"

#include "progress.h"
#include "stats.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int result_open(struct result *result, const char *bench, bool json, unsigned rounds)
{
	*result = (struct result){ .bench = bench, .json = json, .rounds = rounds };
	result->params_file = open_memstream(&result->params, &result->params_size);
	result->title_file = open_memstream(&result->title, &result->title_size);
	if (result->params_file && result->title_file)
		return 0;
	result_close(result);
	return -ENOMEM;
}

void result_close(struct result *result)
{
	if (result->params_file)
		fclose(result->params_file);
	if (result->title_file)
		fclose(result->title_file);
	free(result->params);
	free(result->title);
	*result = (struct result){ 0 };
}

void result_print_number(FILE *file, double value)
{
	if (isnan(value) || isinf(value)) {
		fputs("null", file);
		return;
	}
	double size = fabs(value);
	if (value == floor(value) && size < 1e15)
		fprintf(file, "%.0f", value);
	else
		fprintf(file, "%.*f",
		        size >= 1000  ? 0
		        : size >= 100 ? 1
		        : size >= 10  ? 2
		                      : 3,
		        value);
}

void result_print_text(FILE *file, const char *text)
{
	fputc('"', file);
	for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
		if (*at == '"' || *at == '\\')
			fprintf(file, "\\%c", *at);
		else if (*at < 0x20)
			fprintf(file, "\\u%04x", *at);
		else
			fputc(*at, file);
	}
	fputc('"', file);
}

void result_text(struct result *result, const char *key, const char *value)
{
	fprintf(result->params_file, "\"%s\": ", key);
	result_print_text(result->params_file, value);
	fputs(", ", result->params_file);
	if (*value)
		fprintf(result->title_file, ", %s %s", key, value);
}

void result_detail(struct result *result, const char *key, double value)
{
	fprintf(result->params_file, "\"%s\": ", key);
	result_print_number(result->params_file, value);
	fputs(", ", result->params_file);
}

void result_number(struct result *result, const char *key, double value)
{
	result_detail(result, key, value);
	fprintf(result->title_file, ", %s ", key);
	result_print_number(result->title_file, value);
}

void result_raw(struct result *result, const char *key, const char *json)
{
	fprintf(result->params_file, "\"%s\": %s, ", key, json);
}

void result_measure(struct result *result, const char *key, const char *unit, double value)
{
	if (result->muted)
		return;
	unsigned i = 0;
	while (i < result->measures_count && strcmp(result->measures[i].key, key) != 0)
		i++;
	if (i == MEASURES_MAX)
		return;
	struct measure *measure = &result->measures[i];
	if (i == result->measures_count) {
		*measure = (struct measure){ .key = key, .unit = unit };
		result->measures_count++;
	}
	measure->sum += value;
	measure->passes++;
}

static void end_round(struct measure *measure)
{
	if (measure->passes && measure->count < ROUNDS_MAX)
		measure->samples[measure->count++] = measure->sum / measure->passes;
	measure->sum = 0;
	measure->passes = 0;
}

/* "value" and its unit for the first measure, the key alone for the others. */
static void json_measure(const struct result *result, unsigned i, double value)
{
	const struct measure *measure = &result->measures[i];
	if (i == 0) {
		printf("\"value\": ");
		result_print_number(stdout, value);
		printf(", \"unit\": \"%s\", ", measure->unit);
	}
	printf("\"%s\": ", measure->key);
	result_print_number(stdout, value);
	printf(", ");
}

static void json_end(const struct result *result)
{
	fflush(result->params_file);
	size_t length = strlen(result->params);
	printf("%.*s}\n", (int)(length > 2 ? length - 2 : 0), result->params);
	fflush(stdout);
}

void result_round(struct result *result)
{
	if (result->muted)
		return;
	result->round++;
	for (unsigned i = 0; i < result->measures_count; i++)
		end_round(&result->measures[i]);
	if (!result->json)
		return;
	progress_clear();
	printf("{\"bench\": \"%s\", \"round\": %u, ", result->bench, result->round);
	for (unsigned i = 0; i < result->measures_count; i++) {
		const struct measure *measure = &result->measures[i];
		json_measure(result, i,
		             measure->count ? measure->samples[measure->count - 1] : NAN);
	}
	json_end(result);
}

static void json_summary(const struct result *result)
{
	printf("{\"bench\": \"%s\", \"summary\": true, \"rounds\": %u, ", result->bench,
	       result->round);
	for (unsigned i = 0; i < result->measures_count; i++) {
		const struct measure *measure = &result->measures[i];
		const char *key = i ? measure->key : "", *line = i ? "_" : "";
		json_measure(result, i, stats_median(measure->samples, measure->count));
		printf("\"%s%smin\": ", key, line);
		result_print_number(stdout, stats_min(measure->samples, measure->count));
		printf(", \"%s%smax\": ", key, line);
		result_print_number(stdout, stats_max(measure->samples, measure->count));
		printf(", ");
	}
	json_end(result);
}

/* A number for a column of the table. */
static const char *column(char *buf, size_t size, double value)
{
	FILE *file = fmemopen(buf, size, "w");
	if (!file)
		return "?";
	if (isnan(value))
		fputc('-', file);
	else
		result_print_number(file, value);
	fclose(file);
	return buf;
}

static void table_summary(const struct result *result)
{
	fflush(result->title_file);
	printf("%s%s, %u rounds\n", result->bench, result->title, result->round);
	printf("  %-34s %12s %12s %12s  %s\n", "", "median", "min", "max", "unit");
	for (unsigned i = 0; i < result->measures_count; i++) {
		const struct measure *measure = &result->measures[i];
		char median[40], min[40], max[40];
		printf("  %-34s %12s %12s %12s  %s\n", measure->key,
		       column(median, sizeof(median),
		              stats_median(measure->samples, measure->count)),
		       column(min, sizeof(min), stats_min(measure->samples, measure->count)),
		       column(max, sizeof(max), stats_max(measure->samples, measure->count)),
		       measure->unit);
	}
	fflush(stdout);
}

void result_summary(struct result *result)
{
	progress_clear();
	if (!result->round)
		return;
	/* What was measured after the last round. */
	for (unsigned i = 0; i < result->measures_count; i++)
		end_round(&result->measures[i]);
	if (result->json)
		json_summary(result);
	else
		table_summary(result);
}
