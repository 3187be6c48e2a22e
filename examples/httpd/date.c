/* SPDX-License-Identifier: MIT
 *
 * HTTP dates, without the C library's functions: those depend on the locale
 * and on the time zone, and strptime takes much that is no date.
 */
#include "date.h"

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char days[] = "SunMonTueWedThuFriSat";

#define SECONDS_MAX 253402300799 /* the last of the year 9999 */

struct date {
	int64_t year;
	int month, day; /* from 1 */
	int hour, minute, second;
};

/* Days from 1970-01-01 to a date of the Gregorian calendar, years from March
 * on so that the leap day is the last one. */
static int64_t days_from_date(int64_t year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return era * 146097 + day_of_era - 719468;
}

/* The other way round, for days >= 0. */
static struct date date_from_days(int64_t n)
{
	struct date d = { 0 };

	n += 719468;
	int64_t era = n / 146097;
	int64_t day_of_era = n - era * 146097;
	int64_t year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year =
		day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int month = (int)((5 * day_of_year + 2) / 153);

	d.day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
	d.month = month < 10 ? month + 3 : month - 9;
	d.year = year_of_era + era * 400 + (d.month <= 2);
	return d;
}

static void put_digits(char *out, int width, int64_t value)
{
	while (width-- > 0) {
		out[width] = (char)('0' + value % 10);
		value /= 10;
	}
}

void date_format(char out[DATE_LEN], int64_t seconds)
{
	if (seconds < 0)
		seconds = 0;
	if (seconds > SECONDS_MAX)
		seconds = SECONDS_MAX;
	int64_t day = seconds / 86400, rest = seconds % 86400;
	struct date d = date_from_days(day);

	memcpy(out, "Day, dd Mon yyyy hh:mm:ss GMT", DATE_LEN);
	memcpy(out, days + 3 * ((day + 4) % 7), 3);
	put_digits(out + 5, 2, d.day);
	memcpy(out + 8, months + 3 * (ptrdiff_t)(d.month - 1), 3);
	put_digits(out + 12, 4, d.year);
	put_digits(out + 17, 2, rest / 3600);
	put_digits(out + 20, 2, rest / 60 % 60);
	put_digits(out + 23, 2, rest % 60);
}

/* ---- parsing: each taker cuts what it takes off the slice ------------------ */

static bool take_literal(struct slice *s, const char *literal)
{
	size_t len = strlen(literal);

	if (s->len < len || memcmp(s->ptr, literal, len) != 0)
		return false;
	s->ptr += len;
	s->len -= len;
	return true;
}

static bool take_number(struct slice *s, int width, int *value)
{
	*value = 0;
	if (s->len < (size_t)width)
		return false;
	for (int i = 0; i < width; i++) {
		if (s->ptr[i] < '0' || s->ptr[i] > '9')
			return false;
		*value = *value * 10 + (s->ptr[i] - '0');
	}
	s->ptr += width;
	s->len -= (size_t)width;
	return true;
}

/* One of the three-letter names; *index counts from 0. */
static bool take_name(struct slice *s, const char *names, int count, int *index)
{
	for (*index = 0; *index < count; ++*index) {
		if (s->len >= 3 && memcmp(s->ptr, names + 3 * (ptrdiff_t)*index, 3) == 0) {
			s->ptr += 3;
			s->len -= 3;
			return true;
		}
	}
	return false;
}

static bool take_month(struct slice *s, struct date *d)
{
	int index;
	bool found = take_name(s, months, 12, &index);

	d->month = index + 1;
	return found;
}

static bool take_time(struct slice *s, struct date *d)
{
	return take_number(s, 2, &d->hour) && take_literal(s, ":") &&
	       take_number(s, 2, &d->minute) && take_literal(s, ":") &&
	       take_number(s, 2, &d->second);
}

/* "06 Nov 1994 08:49:37 GMT", after "Sun, ". */
static bool take_fixdate(struct slice s, struct date *d)
{
	int year = 0;
	bool valid = take_number(&s, 2, &d->day) && take_literal(&s, " ") && take_month(&s, d) &&
	             take_literal(&s, " ") && take_number(&s, 4, &year) && take_literal(&s, " ") &&
	             take_time(&s, d) && take_literal(&s, " GMT") && s.len == 0;

	d->year = year;
	return valid;
}

/* "06-Nov-94 08:49:37 GMT", after "Sunday, ".  Two digits from 70 on are
 * years of the last century. */
static bool take_rfc850(struct slice s, struct date *d)
{
	int year = 0;
	bool valid = take_number(&s, 2, &d->day) && take_literal(&s, "-") && take_month(&s, d) &&
	             take_literal(&s, "-") && take_number(&s, 2, &year) && take_literal(&s, " ") &&
	             take_time(&s, d) && take_literal(&s, " GMT") && s.len == 0;

	d->year = year + (year >= 70 ? 1900 : 2000);
	return valid;
}

/* "Nov  6 08:49:37 1994", after "Sun ". */
static bool take_asctime(struct slice s, struct date *d)
{
	int year = 0;
	bool valid = take_month(&s, d) && take_literal(&s, " ") &&
	             (take_literal(&s, " ") ? take_number(&s, 1, &d->day)
	                                    : take_number(&s, 2, &d->day)) &&
	             take_literal(&s, " ") && take_time(&s, d) && take_literal(&s, " ") &&
	             take_number(&s, 4, &year) && s.len == 0;

	d->year = year;
	return valid;
}

int64_t date_parse(struct slice s)
{
	struct date d = { 0 };
	int weekday;
	bool valid;

	if (!take_name(&s, days, 7, &weekday))
		return -1;
	if (take_literal(&s, ", ")) {
		valid = take_fixdate(s, &d);
	} else if (take_literal(&s, " ")) {
		valid = take_asctime(s, &d);
	} else {
		const char *comma = s.len > 0 ? memchr(s.ptr, ',', s.len) : NULL;

		if (!comma)
			return -1;
		s.len -= (size_t)(comma - s.ptr);
		s.ptr = comma;
		valid = take_literal(&s, ", ") && take_rfc850(s, &d);
	}
	if (!valid || d.day < 1 || d.day > 31 || d.hour > 23 || d.minute > 59 || d.second > 60)
		return -1;
	if (d.year < 1970)
		return -1;
	return days_from_date(d.year, d.month, d.day) * 86400 + d.hour * 3600 + d.minute * 60 +
	       d.second;
}
