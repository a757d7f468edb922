package main

import (
	"slices"
	"strings"
	"text/template"
)

const pythonFolder = "bridges/python/modulebus/"

// pythonScalars are the types of protobuf, as Python annotates them, and what they start with.
var pythonScalars = map[string][2]string{
	"string": {"str", `""`}, "bool": {"bool", "False"}, "bytes": {"bytes", `b""`}, "double": {"float", "0.0"},
	"int32": {"int", "0"}, "int64": {"int", "0"}, "uint32": {"int", "0"}, "uint64": {"int", "0"},
}

var pythonFunctions = template.FuncMap{
	"pyMessages":  pythonMessages,
	"pyType":      pythonType,
	"pyDefault":   pythonDefault,
	"pyParameter": pythonParameter,
	"pyArgument":  pythonArgument,
	"pyDoc":       pythonDoc,
}

// pythonMessages are all messages that Python has classes for, each once: shared ones first, since fields name them.
func pythonMessages(all Catalogue) (out []Message) {
	out = append(out, all.Types...)
	for _, m := range all.APITypes {
		if !slices.ContainsFunc(out, func(o Message) bool { return o.Go == m.Go }) {
			out = append(out, m)
		}
	}
	for _, c := range all.Categories {
		for _, callback := range c.Callbacks {
			out = append(out, callback.Request, callback.Reply)
		}
	}
	for _, m := range all.API {
		out = append(out, m.Request, m.Reply)
	}
	return out
}

// pythonType is the annotation of a field that holds such a type.
func pythonType(s string) string {
	if inner, ok := strings.CutPrefix(s, "list of "); ok {
		return "list[" + pythonSingle(inner) + "]"
	}
	if inner, ok := strings.CutPrefix(s, "map of "); ok {
		return "dict[str, " + pythonSingle(inner) + "]"
	}
	if _, ok := pythonScalars[s]; ok {
		return pythonSingle(s)
	}
	single := pythonSingle(strings.TrimPrefix(s, "optional "))
	if single == "Any" {
		single = "dict[str, Any]"
	}
	return single + " | None"
}

// pythonSingle is the annotation of one value.
func pythonSingle(s string) string {
	if scalar, ok := pythonScalars[s]; ok {
		return scalar[0]
	}
	if s == "JSON" {
		return "Any"
	}
	return s
}

// pythonDefault is what a field starts with. A message, and JSON, start with nothing. What is secret is left out of repr.
func pythonDefault(f Field) string {
	start := "None"
	if scalar, ok := pythonScalars[f.Form()]; ok {
		start = scalar[1]
	}
	var arguments []string
	switch {
	case f.List:
		arguments = append(arguments, "default_factory=list")
	case f.Map:
		arguments = append(arguments, "default_factory=dict")
	case f.secret:
		arguments = append(arguments, "default="+start)
	default:
		return start
	}
	if f.secret {
		arguments = append(arguments, "repr=False")
	}
	return "field(" + strings.Join(arguments, ", ") + ")"
}

// pythonParameter is a parameter of a method: those that have to be given have no default.
func pythonParameter(s string) string {
	annotation := strings.TrimSuffix(pythonType(s), " | None")
	switch {
	case s == "bool":
		return "bool = False"
	case strings.HasPrefix(s, "optional "), strings.HasPrefix(s, "list of "), strings.HasPrefix(s, "map of "), s == "JSON":
		return annotation + " | None = None"
	}
	return annotation
}

// pythonArgument makes of a parameter what the field takes.
func pythonArgument(name, s string) string {
	switch {
	case strings.HasPrefix(s, "list of "):
		return name + " or []"
	case strings.HasPrefix(s, "map of "):
		return name + " or {}"
	}
	return name
}

// pythonDoc is the first sentence of a comment; name stands in where there is none.
func pythonDoc(comment, name string) string {
	first, _, _ := strings.Cut(strings.ReplaceAll(comment, "\n", " "), ". ")
	if first = strings.TrimSuffix(strings.ReplaceAll(first, `"`, "'"), "."); first == "" {
		return name + "."
	}
	return first + "."
}
