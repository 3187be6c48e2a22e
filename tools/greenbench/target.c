/* SPDX-License-Identifier: MIT
 *
 * What the http bench aims at: a URL, a server started by a command, or, with
 * neither, the httpd that was built beside this program, with one file.
 */
#include "target.h"

#include "bench.h"
#include "child.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "file.bin"

/* http://host[:port][/path] */
static int parse_url(struct target *target, const char *url)
{
	static const char scheme[] = "http://";
	if (strncmp(url, scheme, strlen(scheme)) != 0)
		return options_bad("url", "give http://ADDRESS:PORT/PATH (no https); /PATH alone "
		                          "needs --server");
	const char *address = url + strlen(scheme);
	size_t length = strcspn(address, "/?#");
	char authority[300];
	snprintf(authority, sizeof(authority), "%.*s", (int)length, address);
	bool has_port = strrchr(authority, ':') && authority[strlen(authority) - 1] != ']';
	if (!has_port)
		strncat(authority, ":80", sizeof(authority) - strlen(authority) - 1);
	if (!length || !server_split(authority, target->host, sizeof(target->host), target->port,
	                             sizeof(target->port)))
		return options_bad("url", "has no address; give http://ADDRESS:PORT/PATH");
	snprintf(target->path, sizeof(target->path), "%s",
	         address[length] == '/' ? address + length : "/");
	return 0;
}

static int write_file(struct target *target, size_t size)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(target->root, sizeof(target->root), "%.400s/greenbench.XXXXXX",
	         tmp && *tmp ? tmp : "/tmp");
	char name[600];
	FILE *file = NULL;
	if (mkdtemp(target->root)) {
		snprintf(name, sizeof(name), "%s/%s", target->root, FILE_NAME);
		file = fopen(name, "we");
	} else {
		target->root[0] = '\0';
	}
	for (size_t i = 0; file && i < size; i++)
		fputc('a' + (int)(i % 26), file);
	if (file && fclose(file) == 0)
		return 0;
	fprintf(stderr, "greenbench: http: cannot write %s: %m; set TMPDIR\n", target->root);
	return EXIT_CANNOT;
}

/* Our own httpd, with a file of --size bytes. */
static int start_httpd(struct target *target, const struct options *options)
{
	char self[4096], httpd[4200];
	snprintf(self, sizeof(self), "%s", child_self());
	snprintf(httpd, sizeof(httpd), "%s/examples/httpd", dirname(self));
	if (access(httpd, X_OK) < 0) {
		fprintf(stderr, "greenbench: http: %s: %m; give --url or --server\n", httpd);
		return EXIT_CANNOT;
	}
	int status = write_file(target, options->size ? options->size : 1024);
	if (status)
		return status;
	char *argv[] = { httpd,
		         (char *)"--listen",
		         (char *)"127.0.0.1:0",
		         (char *)"--root",
		         target->root,
		         (char *)"--status",
		         NULL };
	snprintf(target->path, sizeof(target->path), "/%s", FILE_NAME);
	if (!target->status_path)
		target->status_path = "/_status";
	return server_start(&target->server, argv, options);
}

static int start_command(struct target *target, const struct options *options)
{
	char *command;
	/* exec: the shell makes way, so that the server has the pid we know. */
	if (asprintf(&command, "exec %s", options->server) < 0)
		return EXIT_CANNOT;
	char *argv[] = { (char *)"sh", (char *)"-c", command, NULL };
	int status = server_start(&target->server, argv, options);
	free(command);
	return status;
}

static int open_server(struct target *target, const struct options *options)
{
	int status =
		options->server ? start_command(target, options) : start_httpd(target, options);
	if (status)
		return status;
	snprintf(target->host, sizeof(target->host), "%s", target->server.host);
	snprintf(target->port, sizeof(target->port), "%s", target->server.port);
	return 0;
}

int target_open(struct target *target, const struct options *options)
{
	*target = (struct target){ .status_path = options->status_path, .path = "/" };
	const char *url = options->url;
	if (url && *url == '/') {
		if (!options->server)
			return options_bad("url", "/PATH alone needs --server; else give "
			                          "http://ADDRESS:PORT/PATH");
		snprintf(target->path, sizeof(target->path), "%s", url);
	} else if (url) {
		int status = parse_url(target, url);
		if (status)
			return status;
	}
	if (options->server || !url)
		return open_server(target, options);
	target->server.pid = (pid_t)options->pid;
	target->server.output = -1;
	return 0;
}

int target_close(struct target *target)
{
	int status = server_stop(&target->server);
	if (target->root[0]) {
		char name[600];
		snprintf(name, sizeof(name), "%s/%s", target->root, FILE_NAME);
		unlink(name);
		rmdir(target->root);
	}
	return status;
}
