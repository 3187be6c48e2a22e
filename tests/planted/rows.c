/* SPDX-License-Identifier: MIT
 *
 * A page of orders from PostgreSQL: what looks like reading a field asks the database, the
 * first time.  The connection is libpq's asynchronous one, and waits are green.
 *
 *	PGHOST, PGDATABASE … name the server.
 */
#include "planted.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>

#define ORDERS 20

/* ---- the driver ------------------------------------------------------------------ */

KEPT static PGconn *db_connect(void)
{
	PGconn *db = PQconnectStart("");
	PostgresPollingStatusType next = PGRES_POLLING_WRITING;

	while (db && next != PGRES_POLLING_OK && next != PGRES_POLLING_FAILED) {
		green_wait_fd(PQsocket(db), next == PGRES_POLLING_READING ? POLLIN : POLLOUT, -1);
		next = PQconnectPoll(db);
	}
	if (db && PQstatus(db) == CONNECTION_OK && PQsetnonblocking(db, 1) == 0)
		return db;
	fprintf(stderr, "%s", db ? PQerrorMessage(db) : "no memory\n");
	PQfinish(db);
	return NULL;
}

KEPT static PGresult *db_query(PGconn *db, const char *text)
{
	PGresult *result, *more;

	if (!PQsendQuery(db, text))
		return NULL;
	while (PQflush(db) > 0)
		green_wait_fd(PQsocket(db), POLLOUT, -1);
	while (PQisBusy(db)) {
		green_wait_fd(PQsocket(db), POLLIN, -1);
		if (!PQconsumeInput(db))
			return NULL;
	}
	result = PQgetResult(db);
	while ((more = PQgetResult(db)))
		PQclear(more);
	return result;
}

/* ---- the data layer ---------------------------------------------------------------- */

struct order {
	PGconn *db;
	int customer_id;
	char *customer; /* NULL: not loaded */
};

KEPT static char *relation_load(PGconn *db, const char *table, int id)
{
	char text[128], *value = NULL;
	PGresult *rows;

	snprintf(text, sizeof(text), "select name from %s where id = %d", table, id);
	rows = db_query(db, text);
	if (PQntuples(rows) == 1)
		value = strdup(PQgetvalue(rows, 0, 0));
	PQclear(rows);
	return value;
}

KEPT static const char *order_customer(struct order *order)
{
	if (!order->customer)
		order->customer =
			relation_load(order->db, "customers", order->customer_id); /* planted */
	return order->customer;
}

KEPT static int orders_load(PGconn *db, struct order *orders, bool with_customers)
{
	PGresult *rows = db_query(db, "select o.id, customer, name from orders o join customers c "
	                              "on c.id = customer order by o.id limit 20");
	int n = PQntuples(rows);

	for (int i = 0; i < n && i < ORDERS; i++) {
		orders[i].db = db;
		orders[i].customer_id = atoi(PQgetvalue(rows, i, 1));
		orders[i].customer = with_customers ? strdup(PQgetvalue(rows, i, 2)) : NULL;
	}
	PQclear(rows);
	return n;
}

/* ---- the application ----------------------------------------------------------------- */

KEPT static size_t render(struct order *orders, int n)
{
	size_t length = 0;

	for (int i = 0; i < n; i++) {
		const char *customer = order_customer(&orders[i]);
		length += customer ? strlen(customer) : 0;
	}
	return length;
}

static void *serve(void *arg)
{
	struct order orders[ORDERS];
	PGconn *db = db_connect();

	if (!db)
		return "no connection to the database";
	int n = orders_load(db, orders, well);
	size_t length = render(orders, n);
	for (int i = 0; i < n; i++)
		free(orders[i].customer);
	PQfinish(db);
	return n == ORDERS && length > 0 ? arg : "not the rows that were expected";
}

int main(int argc, char **argv)
{
	return planted_main(argc, argv, serve);
}
