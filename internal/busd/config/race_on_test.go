//go:build race

package config

const racing = true
