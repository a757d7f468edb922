package main

import (
	"bytes"
	"embed"
	"fmt"
	"go/format"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// What each template makes: once per category where the name has a %s, and else once.
var targets = map[string]string{
	"subjects.go.tmpl":          "subjects/%s_gen.go",
	"bus.go.tmpl":               "bus/%s_gen.go",
	"categories.go.tmpl":        "bus/categories_gen.go",
	"modulekit.go.tmpl":         "modulekit/%s_gen.go",
	"modulekittest.go.tmpl":     "modulekit/modulekittest/%s_gen.go",
	"homeserver.go.tmpl":        "modulekit/modulekittest/homeserver_gen.go",
	"category.md.tmpl":          "docs/callbacks/%s.md",
	"index.md.tmpl":             "docs/callbacks/README.md",
	"api_subjects.go.tmpl":      "subjects/module_api_gen.go",
	"api_bus.go.tmpl":           "bus/module_api_gen.go",
	"api_modulekit.go.tmpl":     "modulekit/module_api_gen.go",
	"api_modulekittest.go.tmpl": "modulekit/modulekittest/module_api_gen.go",
	"api.md.tmpl":               "docs/module-api.md",
	"types.md.tmpl":             "docs/callbacks/types.md",
	"messages.py.tmpl":          pythonFolder + "messages.py",
	"api.py.tmpl":               pythonFolder + "api.py",
}

func render(all Catalogue) (map[string][]byte, error) {
	parsed, err := template.New("").Funcs(functions(all)).Funcs(pythonFunctions).ParseFS(templates, "templates/*")
	if err != nil {
		return nil, err
	}
	outputs := map[string][]byte{}
	for name, target := range targets {
		if !strings.Contains(target, "%s") {
			if outputs[target], err = execute(parsed, name, all); err != nil {
				return nil, err
			}
			continue
		}
		for _, c := range all.Categories {
			path := fmt.Sprintf(target, c.Name)
			if outputs[path], err = execute(parsed, name, c); err != nil {
				return nil, err
			}
		}
	}
	return outputs, nil
}

func execute(t *template.Template, name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return nil, err
	}
	if !strings.HasSuffix(name, ".go.tmpl") {
		return b.Bytes(), nil
	}
	out, err := format.Source(b.Bytes())
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, b.Bytes())
	}
	return out, nil
}

func functions(all Catalogue) template.FuncMap {
	return template.FuncMap{
		"comment": func(indent, text string) string {
			return indent + "// " + strings.ReplaceAll(strings.ReplaceAll(text, "\n", "\n"+indent+"// "), "// \n", "//\n")
		},
		"dict": func(title, types string, m Message) titled { return titled{title, types, m} },
		"cell": func(s string) string { return strings.ReplaceAll(s, "\n", " ") },
		"type": func(types string, f Field) string { return link(all, types, f.Form()) },
		// The reference pages call a callback by its own name.
		"prose": func(c Callback) string { return "`" + c.Name + "`" + strings.TrimPrefix(c.Comment, c.Go) },
	}
}

// link points from the name of a shared type to its description, on the page with the shared types.
func link(all Catalogue, types, typ string) string {
	for _, t := range all.Types {
		if rest, ok := strings.CutSuffix(typ, t.Go); ok && (rest == "" || strings.HasSuffix(rest, " ")) {
			return fmt.Sprintf("%s[%s](%s#%s)", rest, t.Go, types, strings.ToLower(t.Go))
		}
	}
	return typ
}

// titled is a message for the template of its fields.
type titled struct {
	Title   string
	Types   string // the page with the shared types
	Message Message
}
