package config

import (
	"encoding/json"
	"testing"
)

func TestModuleConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, yaml, want string }{
		{"the order of the file", `{z: 1, a: 2, m: 3}`, `{"z":1,"a":2,"m":3}`},
		{"nested", `{a: [{b: [c, null]}, []]}`, `{"a":[{"b":["c",null]},[]]}`},
		{"numbers as written", `{v: [1, -1, 0, 1.50, 1e5, 2E-3, 123456789012345678901234567890]}`, `{"v":[1,-1,0,1.50,"1e5","2E-3",123456789012345678901234567890]}`},
		{"numbers that JSON writes otherwise", `{v: [0x1F, 0o17, 017, +5, 1_000, .5, 5., 1_0.5, 0xFFFFFFFFFFFFFFFF]}`, `{"v":[31,"0o17",15,5,1000,0.5,5.0,10.5,18446744073709551615]}`},
		{"quoted numbers", `{v: ["1", '0x1F', !!str 7]}`, `{"v":["1","0x1F","7"]}`},
		{"tagged numbers", `{v: [!!int "7", !!float 1]}`, `{"v":[7,1.0]}`},
		{"Synapse's booleans", `{v: [true, True, FALSE, yes, No, ON, off]}`, `{"v":[true,true,false,true,false,true,false]}`},
		{"no booleans", `{v: ["yes", 'no', y, n, oN, !!str on]}`, `{"v":["yes","no","y","n","oN","on"]}`},
		{"what only looks like a number", `{v: [08123456, 09, 25921e05, 5e-1, 1.5e3, 0o755, 1e3, "1:30"]}`, `{"v":["08123456","09","25921e05","5e-1","1.5e3","0o755","1e3","1:30"]}`},
		{"numbers in sixties", `{v: [22:30, 12:30:45, 190:20:30, -1:05, 1:30.5]}`, `{"v":[1350,45045,685230,-65,90.5]}`},
		{"numbers in other bases", `{v: [0x1F, 0b11, 010, -0x10, 0o10]}`, `{"v":[31,3,8,-16,"0o10"]}`},
		{"floats that stay floats", `{v: [1.e+3, 1., .5, 1.5e+3, 1.0]}`, `{"v":[1000.0,1.0,0.5,1.5e+3,1.0]}`},
		{"no number, though JSON cannot carry it", `{v: [inf, nan, 1.0e400x]}`, `{"v":["inf","nan","1.0e400x"]}`},
		{"infinity", `{v: [.inf]}`, ``},
		{"a number too large for a float", `{v: [1.0e+400]}`, ``},
		{"a number that Python cannot read", `{v: [0x_]}`, ``},
		{"a value key alone", `{v: [=]}`, ``},
		{"a merge key alone", `{v: [<<]}`, ``},
		{"text as it is", `{v: ["<&>", "é\u0000\t", "\"\\"]}`, `{"v":["<&>","é\u0000\t","\"\\"]}`},
		{"blocks", "\n      v: |\n        a\n        b\n", `{"v":"a\nb\n"}`},
		{"dates as written", `{v: [2024-01-02, 2024-01-02T03:04:05Z, 22:30]}`, `{"v":["2024-01-02","2024-01-02T03:04:05Z",1350]}`},
		{"keys as written", `{1: a, true: b, 1.50: c, 2024-01-02: d}`, `{"1":"a","true":"b","1.50":"c","2024-01-02":"d"}`},
		{"an empty key", `{"": 1}`, `{"":1}`},
		{"anchors", `{a: &x [1], b: *x}`, `{"a":[1],"b":[1]}`},
		{"a list for a key", `{a: &x [1], *x : 2}`, ``},
		{"an anchor for a key", `{&k a: *k, b: *k}`, `{"a":"a","b":"a"}`},
		{"merged keys", `{<<: {a: 1, b: 2}, a: 3}`, `{"a":3,"b":2}`},
		{"a quoted merge key", `{"<<": 1}`, `{"<<":1}`},
		{"null", `null`, `{}`},
		{"nothing", ``, `{}`},
		{"false", `no`, `{}`},
		{"zero", `0`, `{}`},
		{"no text", `""`, `{}`},
		{"no items", `[]`, `{}`},
		{"a list", `[0]`, ``},
		{"text", `deny`, ``},
		{"a number", `7`, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := Parse("busd.yaml", []byte("server_name: a\nmodules:\n  - module: m\n    config: "+tt.yaml+"\n"))
			if tt.want == "" {
				if err == nil {
					t.Fatal("got no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(c.Modules[0].Config); got != tt.want || !json.Valid([]byte(got)) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
