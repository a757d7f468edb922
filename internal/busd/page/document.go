package page

import (
	"bytes"
	"fmt"
	"html"
	"net/url"
	"strings"
)

// document is HTML that is being written. Package html/template would do as much, and have the linker keep every method that a template
// could call: a quarter of busd's file (ADR 73).
type document struct{ bytes.Buffer }

// literal is HTML of this package. Constants become it by themselves, and no variable does: what others say comes in as a value.
type literal string

// markup is HTML that a document has written.
type markup string

// put adds HTML in which each {} stands for a value: within an element, or within an attribute in double quotes. All but markup is
// escaped.
func (d *document) put(text literal, values ...any) {
	rest := string(text)
	for _, v := range values {
		before, after, _ := strings.Cut(rest, "{}")
		d.WriteString(before)
		if m, ok := v.(markup); ok {
			d.WriteString(string(m))
		} else {
			d.WriteString(html.EscapeString(fmt.Sprint(v)))
		}
		rest = after
	}
	d.WriteString(rest)
}

// names adds names, with commas between.
func (d *document) names(names []string) {
	for i, name := range names {
		if i > 0 {
			d.put(", ")
		}
		d.put("<strong>{}</strong>", name)
	}
}

// changed adds a sentence about modules, if there are any.
func (d *document) changed(how string, names []string) {
	if len(names) > 0 {
		d.put("{}: ", how)
		d.names(names)
		d.put(". ")
	}
}

// columns adds the head of a table.
func (d *document) columns(names ...string) {
	d.put("<thead><tr>")
	for _, name := range names {
		d.put(`<th scope="col">{}</th>`, name)
	}
	d.put("</tr></thead>\n")
}

// problem adds what is wrong, if anything is.
func (d *document) problem(text string) {
	if text != "" {
		d.put(`<p class="problem" role="alert">{}</p>`+"\n", text)
	}
}

// lookup adds the form that asks for the ID of a decision.
func (d *document) lookup(id string) {
	d.put(`<form class="lookup" method="get" action="/_modulebus/explain" role="search">
<label for="id">Explain the decision with the ID</label>
<input id="id" name="id" value="{}" autocomplete="off" spellcheck="false" required placeholder="d-…">
<button>Explain</button>
</form>
`, id)
}

// explainedAt is where a decision is explained.
func explainedAt(id string) string { return "/_modulebus/explain?id=" + url.QueryEscape(id) }

// frame is what all pages have.
type frame struct {
	ServerName, Title, Nonce string
	Key                      string // what the script shows
	Signed                   bool   // the browser can sign out
}

// content is what a page has in its frame.
type content interface{ show(d *document, f *frame) }

func (f *frame) show(d *document, c content) {
	d.put(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{} – busd of {}</title>
<link rel="stylesheet" href="/_modulebus/assets/page.css" nonce="{}">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<p class="name"><a href="/_modulebus/">busd</a> of {}</p>
`, f.Title, f.ServerName, f.Nonce, f.ServerName)
	if f.Signed {
		d.put(`<form method="post" action="/_modulebus/sign-out"><button>Sign out</button></form>` + "\n")
	}
	d.put("</header>\n<main id=\"main\">\n")
	c.show(d, f)
	d.put("</main>\n</body>\n</html>\n")
}
