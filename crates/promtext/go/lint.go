package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// lint is what `promtool check metrics` does: it reads the page as a strict client would and says where
// it breaks the customs of names.
func lint(page io.Reader) error {
	problems, err := promlint.New(page).Lint()
	if err != nil {
		return err
	}
	for _, problem := range problems {
		fmt.Fprintf(os.Stderr, "%s: %s\n", problem.Metric, problem.Text)
	}
	if len(problems) > 0 {
		return errors.New("the page breaks customs")
	}
	return nil
}
