// Package page serves the operators' page: the state of modules, the last reload, decisions as they are made, and the
// explanation of one decision (ADR 59).
//
// It only reads. Pages are rendered on the server and can be read without JavaScript; a script replaces parts of them
// with newer ones. Everything from modules and requests goes through html/template.
package page
