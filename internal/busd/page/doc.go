// Package page is what operators look at with a browser: how modules are, what the last reload did, decisions as they are made,
// and one decision explained (ADR 59).
//
// It reads what others know, and changes nothing. Pages are made on the server and can be read without JavaScript; a script
// replaces parts of them by newer ones. All that comes from modules and requests goes through html/template.
package page
