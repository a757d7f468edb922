// Command curl knows as much of curl as the commands do that busd announces.
package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	var data, header string
	flag.StringVar(&data, "d", "", "body")
	flag.StringVar(&header, "H", "", "header")
	flag.Parse()
	if err := run(flag.Arg(0), data, header); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url, data, header string) error {
	method := http.MethodGet
	if data != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequest(method, url, strings.NewReader(data))
	if err != nil {
		return err
	}
	if data != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(name, value)
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	_, err = io.Copy(os.Stdout, rsp.Body)
	return err
}
