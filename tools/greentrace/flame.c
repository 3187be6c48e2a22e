/* SPDX-License-Identifier: MIT
 *
 * Time away, or time run, by call path.
 *
 * Records say how long each switch point took, but not by which path it was reached;
 * stacks are a sample of the paths.  So each path gets the share of its switch point's
 * time that it has of the stacks seen there.
 */
#include "attach.h"
#include "escape.h"
#include "greenps.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct output {
	FILE *file;
	struct trace *trace;
	bool html, first;
};

/* Separators of the format are nothing that a name may have. */
static void print_frame(FILE *f, const char *name)
{
	for (; *name; name++)
		fputc(*name == ';' || *name == ' ' || *name == '<' || *name == '&' ? '_' : *name,
		      f);
}

static void print_folded(const struct output *out, const struct path *path, const char *why,
                         uint64_t ns)
{
	char text[400];

	for (size_t i = path ? path->depth : 0; i > 0; i--) {
		print_frame(out->file, function_text(text, sizeof(text), path->frames[i - 1]));
		fputc(';', out->file);
	}
	print_frame(out->file, why);
	fprintf(out->file, " %" PRIu64 "\n", ns);
}

/* "a;b;c 12" as a string of JavaScript: nothing in it can end the string or the script. */
static void print_html(struct output *out, const struct path *path, const char *why, uint64_t ns)
{
	char *line = NULL;
	size_t size = 0;
	struct output plain = { .file = open_memstream(&line, &size) };

	if (!plain.file)
		return;
	print_folded(&plain, path, why, ns);
	fclose(plain.file);
	fputs(out->first ? "\n\"" : ",\n\"", out->file);
	out->first = false;
	for (const char *c = line; *c && *c != '\n'; c++) {
		if (*c == '"' || *c == '\\')
			fputc('\\', out->file);
		fputc(*c, out->file);
	}
	fputc('"', out->file);
	free(line);
}

static void print_share(struct output *out, const struct site *site, const struct path *path,
                        uint64_t ns)
{
	const char *why = layout_why(&out->trace->session.layout, site->why);

	if (ns == 0)
		return;
	if (out->html)
		print_html(out, path, why, ns);
	else
		print_folded(out, path, why, ns);
}

/* What is drawn. */
static uint64_t total_of(const struct output *out, const struct site *site)
{
	return out->trace->options->running ? site->ran_ns : site->parked.total_ns;
}

struct share {
	struct output *out;
	const struct site *site;
	uint64_t stacks, given; /* of how many in all; ns given away */
};

static void count_path(void *arg, const struct path *path)
{
	struct share *s = arg;

	if (path_is_of(path, s->site->pc, s->site->why))
		s->stacks += path->count;
}

static void give_path(void *arg, const struct path *path)
{
	struct share *s = arg;
	double part = (double)path->count / (double)(s->stacks ? s->stacks : 1);

	if (!path_is_of(path, s->site->pc, s->site->why))
		return;
	uint64_t ns = (uint64_t)((double)total_of(s->out, s->site) * part);
	s->given += ns;
	print_share(s->out, s->site, path, ns);
}

static void print_sites(struct output *out)
{
	const struct sites *sites = &out->trace->sites;

	for (size_t i = 0; i < sites->size; i++) {
		struct share share = { .out = out, .site = sites->slots[i] };
		if (!share.site || !total_of(out, share.site))
			continue;
		names_each_path(out->trace->names, count_path, &share);
		if (share.stacks) {
			names_each_path(out->trace->names, give_path, &share);
			continue;
		}
		/* No stack of it: a path of one frame. */
		struct path *alone = names_alone(out->trace->names, share.site->pc);
		print_share(out, share.site, alone, total_of(out, share.site));
	}
}

static const char page_head[] =
	"</title>\n"
	"<style>\n"
	"body{font:13px sans-serif;margin:12px;background:#fff;color:#222}\n"
	"#graph{position:relative;margin-top:8px;overflow:hidden}\n"
	"#graph div{position:absolute;height:17px;line-height:17px;overflow:hidden;"
	"white-space:nowrap;cursor:pointer;border:1px solid #fff;box-sizing:border-box;"
	"padding:0 3px;font-size:12px}\n"
	"#graph div:hover{border-color:#000}#graph .hit{background:#d070d0!important}\n"
	"#what{height:18px;color:#555}\n"
	"</style>\n"
	"<h3 id=\"title\"></h3>\n"
	"<input id=\"find\" placeholder=\"find\"> <button id=\"all\">show all</button>\n"
	"<div id=\"what\"></div><div id=\"graph\"></div>\n<script>\nconst lines = [";

static const char page_tail[] =
	"\n];\n"
	"const root = {name: 'all', ns: 0, kids: new Map()};\n"
	"for (const line of lines) {\n"
	"  const cut = line.lastIndexOf(' '), ns = Number(line.slice(cut + 1));\n"
	"  let at = root; at.ns += ns;\n"
	"  for (const name of line.slice(0, cut).split(';')) {\n"
	"    if (!at.kids.has(name)) at.kids.set(name, {name, ns: 0, kids: new Map(), up: at});\n"
	"    at = at.kids.get(name); at.ns += ns;\n"
	"  }\n"
	"}\n"
	"const graph = document.getElementById('graph'), what = document.getElementById('what');\n"
	"const time = ns => ns >= 1e9 ? (ns / 1e9).toFixed(2) + ' s' : ns >= 1e6 ?\n"
	"  (ns / 1e6).toFixed(2) + ' ms' : (ns / 1e3).toFixed(1) + ' us';\n"
	"const colour = name => { let h = 0; for (const c of name) h = (h * 31 + c.codePointAt(0)) "
	"| 0;\n"
	"  return `hsl(${90 + (h >>> 0) % 90},55%,${72 + (h >>> 8) % 12}%)`; };\n"
	"let top_ = root, deepest = 0;\n"
	"function box(node, x, width, row) {\n"
	"  if (width < 0.05) return;\n"
	"  deepest = Math.max(deepest, row);\n"
	"  const div = document.createElement('div'), sought = "
	"document.getElementById('find').value;\n"
	"  div.style.cssText = `left:${x}%;width:${width}%;top:${row * 18}px;"
	"background:${colour(node.name)}`;\n"
	"  div.textContent = node.name;\n"
	"  if (sought && node.name.includes(sought)) div.className = 'hit';\n"
	"  div.onclick = () => { top_ = node; draw(); };\n"
	"  div.onmouseover = () => { what.textContent = `${node.name}: ${time(node.ns)}, "
	"${(100 * node.ns / root.ns).toFixed(2)} %`; };\n"
	"  graph.append(div);\n"
	"  for (const kid of [...node.kids.values()].sort((a, b) => a.name < b.name ? -1 : 1)) {\n"
	"    const part = width * kid.ns / node.ns;\n"
	"    box(kid, x, part, row + 1); x += part;\n"
	"  }\n"
	"}\n"
	"function draw() {\n"
	"  graph.textContent = ''; deepest = 0; box(top_, 0, 100, 0);\n"
	"  graph.style.height = (deepest + 1) * 18 + 'px';\n"
	"  document.getElementById('title').textContent =\n"
	"    `${document.title.slice(12)}, by call path: ${time(top_.ns)} in ${top_.name}`;\n"
	"}\n"
	"document.getElementById('find').oninput = draw;\n"
	"document.getElementById('all').onclick = () => { top_ = root; draw(); };\n"
	"draw();\n</script>\n";

static int write_graph(struct trace *t, const char *file, bool html)
{
	char shown[300];
	FILE *f = fopen(file, "we");
	struct output out = { .file = f, .trace = t, .html = html, .first = true };

	escape_text(shown, sizeof(shown), file, true);
	if (!f)
		return problem("%s: %s", shown, strerror(errno));
	if (html)
		fprintf(f, "<!DOCTYPE html>\n<meta charset=\"utf-8\"><title>greentrace: %s%s",
		        t->options->running ? "Time green threads ran before switching"
		                            : "Time green threads were away",
		        page_head);
	print_sites(&out);
	if (html)
		fputs(page_tail, f);
	bool bad = ferror(f);
	return fclose(f) != 0 || bad ? problem("%s: %s", shown, strerror(errno)) : EXIT_OK;
}

int folded_write(struct trace *t, const char *file)
{
	return write_graph(t, file, false);
}

int flame_write(struct trace *t, const char *file)
{
	return write_graph(t, file, true);
}
