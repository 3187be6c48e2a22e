/* SPDX-License-Identifier: MIT
 *
 * OpenSSL: a client and a server for each number, both threads, over a pair of sockets.
 * The errors that each has noted are its own, whoever ran in between.
 */
#include "libraries.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *client_context, *server_context;

/* address: a folder with key.pem and cert.pem. */
static void make_contexts(void)
{
	char path[512];

	client_context = SSL_CTX_new(TLS_client_method());
	server_context = SSL_CTX_new(TLS_server_method());
	snprintf(path, sizeof(path), "%s/cert.pem", address);
	SSL_CTX_use_certificate_file(server_context, path, SSL_FILETYPE_PEM);
	SSL_CTX_load_verify_locations(client_context, path, NULL);
	SSL_CTX_set_verify(client_context, SSL_VERIFY_PEER, NULL);
	snprintf(path, sizeof(path), "%s/key.pem", address);
	SSL_CTX_use_PrivateKey_file(server_context, path, SSL_FILETYPE_PEM);
}

static SSL *session(SSL_CTX *context, int fd)
{
	SSL *ssl = SSL_new(context);

	if (ssl)
		SSL_set_fd(ssl, fd);
	return ssl;
}

/* Notes an error, lets others run, and finds that one alone. */
static bool errors_are_own(int reason)
{
	ERR_clear_error();
	ERR_raise(ERR_LIB_USER, reason);
	usleep(100000);
	bool good = ERR_GET_REASON(ERR_get_error()) == reason && ERR_peek_error() == 0;
	ERR_clear_error();
	return good;
}

/* Echoes until the client closes. */
static void *serve(void *fd)
{
	SSL *ssl = session(server_context, *(int *)fd);
	bool good = ssl && SSL_accept(ssl) == 1;
	char text[64];
	int n;

	while (good && (n = SSL_read(ssl, text, sizeof(text))) > 0)
		good = errors_are_own(2000) && SSL_write(ssl, text, n) == n;
	if (ssl)
		SSL_free(ssl);
	close(*(int *)fd);
	return good ? NULL : fd;
}

static bool talk(SSL *ssl, int number)
{
	char text[64], answer[64];
	bool good = SSL_connect(ssl) == 1;

	for (int i = 0; good && goes_on(i); i++) {
		int n = snprintf(text, sizeof(text), "%d says %d", number, i);
		good = SSL_write(ssl, text, n) == n && errors_are_own(number) &&
		       SSL_read(ssl, answer, sizeof(answer)) == n && memcmp(text, answer, n) == 0;
	}
	SSL_shutdown(ssl);
	SSL_free(ssl);
	return good;
}

bool use_openssl(int number)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_t server;
	void *bad = NULL;
	int pair[2];

	pthread_once(&once, make_contexts);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
	    pthread_create(&server, NULL, serve, &pair[1]))
		return false;
	SSL *ssl = session(client_context, pair[0]);
	bool good = ssl && talk(ssl, number);
	close(pair[0]);
	pthread_join(server, &bad);
	return good && !bad;
}
