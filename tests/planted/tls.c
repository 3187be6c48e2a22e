/* SPDX-License-Identifier: MIT
 *
 * TLS over a BIO of the program's own, which waits green: the call that waits lies below
 * frames of libssl, which have no frame pointers.  The peer answers after 20 ms, and the
 * exchange rate is asked for at each sale.
 */
#include "planted.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <unistd.h>

#define SALES 20

/* ---- the transport ------------------------------------------------------------------ */

KEPT static int bio_read(BIO *bio, char *to, int size)
{
	ssize_t n = green_recv((int)(intptr_t)BIO_get_data(bio), to, (size_t)size, 0);

	NO_JUMP;
	return n < 0 ? -1 : (int)n;
}

KEPT static int bio_write(BIO *bio, const char *from, int size)
{
	ssize_t n = green_send((int)(intptr_t)BIO_get_data(bio), from, (size_t)size, 0);

	NO_JUMP;
	return n < 0 ? -1 : (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static SSL *tls_over(SSL_CTX *context, BIO_METHOD *method, int fd)
{
	SSL *tls = SSL_new(context);
	BIO *bio = BIO_new(method);

	BIO_set_data(bio, (void *)(intptr_t)fd);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls, bio, bio);
	return tls;
}

/* ---- the peer ------------------------------------------------------------------------- */

static bool use_new_certificate(SSL_CTX *context)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();

	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	bool good = X509_sign(certificate, key, EVP_sha256()) > 0 &&
	            SSL_CTX_use_certificate(context, certificate) == 1 &&
	            SSL_CTX_use_PrivateKey(context, key) == 1;
	X509_free(certificate);
	EVP_PKEY_free(key);
	return good;
}

static void *rates(void *arg)
{
	SSL *tls = arg;
	char c;

	if (SSL_accept(tls) != 1)
		return "no connection";
	while (SSL_read(tls, &c, 1) == 1) {
		green_sleep(GREEN_MS(20));
		if (SSL_write(tls, "7", 1) != 1)
			return "not written";
	}
	return NULL;
}

/* ---- the application ------------------------------------------------------------------ */

KEPT static int fetch_rate(SSL *tls)
{
	char c = 0;

	if (SSL_write(tls, "?", 1) != 1 || SSL_read(tls, &c, 1) != 1) /* planted */
		return 0;
	return c - '0';
}

KEPT static int sell(SSL *tls)
{
	int rate = well ? 7 : fetch_rate(tls);

	NO_JUMP;
	return rate;
}

static const char *run_both(SSL *server, SSL *client, int fd)
{
	const char *bad = NULL;
	void *result = NULL;
	green_t peer;
	int sum = 0;

	if (green_spawn(&peer, NULL, rates, server) != 0)
		return "no thread";
	if (SSL_connect(client) != 1)
		bad = "no connection";
	for (int i = 0; i < SALES && !bad; i++)
		sum += sell(client);
	shutdown(fd, SHUT_WR);
	green_join(peer, &result);
	return bad ? bad : result ? result : sum == 7 * SALES ? NULL : "another rate";
}

static void *shop(void *arg)
{
	SSL_CTX *context = SSL_CTX_new(TLS_method());
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "green");
	int ends[2];

	(void)arg;
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
	if (!context || !use_new_certificate(context) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0)
		return "no TLS";
	SSL *server = tls_over(context, method, ends[0]),
	    *client = tls_over(context, method, ends[1]);
	const char *bad = run_both(server, client, ends[1]);
	SSL_free(server);
	SSL_free(client);
	SSL_CTX_free(context);
	BIO_meth_free(method);
	green_close(ends[0]);
	green_close(ends[1]);
	return (void *)bad;
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, shop);
}
