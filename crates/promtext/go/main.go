// Prometheus' own parser of pages of metrics, for comparison with ours.
//
//	oracle dump               answers pages on standard input with what textparse reads in them
//	oracle lint               checks the page on standard input as promtool check metrics does
//	oracle bench PAGE SECONDS measures how fast textparse reads a page
//
// `cargo xtask promtext-oracle` and `cargo xtask bench promtext` build and run it.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "dump":
		output := bufio.NewWriterSize(os.Stdout, 1<<20)
		if err := dump(bufio.NewReaderSize(os.Stdin, 1<<20), output); err != nil {
			return err
		}
		return output.Flush()
	case len(arguments) == 1 && arguments[0] == "lint":
		return lint(os.Stdin)
	case len(arguments) == 3 && arguments[0] == "bench":
		page, err := os.ReadFile(arguments[1])
		if err != nil {
			return err
		}
		seconds, err := strconv.ParseFloat(arguments[2], 64)
		if err != nil {
			return err
		}
		return bench(page, time.Duration(seconds*float64(time.Second)))
	default:
		return fmt.Errorf("usage: oracle dump | oracle lint | oracle bench PAGE SECONDS")
	}
}
