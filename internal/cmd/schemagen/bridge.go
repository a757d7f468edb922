package main

import (
	"bytes"
	"encoding/json"
	"slices"
)

const (
	bridgeCallbacks = "bridges/synapse/modulebus_synapse/callbacks.json"
	bridgeMethods   = "bridges/synapse/modulebus_synapse/module_api.json"
)

// bridge returns the tables that the bridge in Synapse and the kit for Python are driven by.
func bridge(all Catalogue) (map[string][]byte, error) {
	callbacks := struct {
		Callbacks []Callback         `json:"callbacks"`
		Types     map[string]Message `json:"types"`
	}{Types: byName(all.Types)}
	for _, c := range all.Categories {
		callbacks.Callbacks = append(callbacks.Callbacks, c.Callbacks...)
	}
	methods := struct {
		Methods []Method           `json:"methods"`
		Types   map[string]Message `json:"types"`
	}{all.API, all.typesOfAPI()}
	callbackTable, err := indented(callbacks)
	if err != nil {
		return nil, err
	}
	methodTable, err := indented(methods)
	return map[string][]byte{
		bridgeCallbacks: callbackTable, bridgeMethods: methodTable,
		pythonFolder + "callbacks.json": callbackTable, pythonFolder + "module_api.json": methodTable,
	}, err
}

func byName(messages []Message) map[string]Message {
	all := map[string]Message{}
	for _, m := range messages {
		all[m.Go] = m
	}
	return all
}

// typesOfAPI are the types that the methods of the Module API use, and no others.
func (all Catalogue) typesOfAPI() map[string]Message {
	known, used := byName(slices.Concat(all.Types, all.APITypes)), map[string]Message{}
	var use func(Message)
	use = func(m Message) {
		for _, f := range m.Fields {
			inner, ok := known[f.Type]
			if _, seen := used[f.Type]; ok && !seen {
				used[f.Type] = inner
				use(inner)
			}
		}
	}
	for _, m := range all.API {
		use(m.Request)
		use(m.Reply)
	}
	return used
}

func indented(table any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(table)
	return b.Bytes(), err
}
