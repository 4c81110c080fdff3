// Clones a repository as Flux does: the data of the Secret on standard input becomes options of Flux's git library, and its client
// clones a branch into a folder.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"

	"github.com/fluxcd/pkg/git"
	"github.com/fluxcd/pkg/git/gogit"
	"github.com/fluxcd/pkg/git/repository"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: flux-reader URL BRANCH FOLDER < secret.json")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "flux-reader:", err)
		os.Exit(1)
	}
}

func run(address, branch, folder string) error {
	remote, err := url.Parse(address)
	if err != nil {
		return err
	}
	var secret struct {
		Data map[string][]byte `json:"data"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&secret); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	options, err := git.NewAuthOptions(*remote, secret.Data)
	if err != nil {
		return fmt.Errorf("the Secret: %w", err)
	}
	// The stand-in for GitHub listens on loopback without TLS.
	client, err := gogit.NewClient(folder, options, gogit.WithDiskStorage(), gogit.WithInsecureCredentialsOverHTTP())
	if err != nil {
		return err
	}
	commit, err := client.Clone(context.Background(), address, repository.CloneConfig{
		CheckoutStrategy: repository.CheckoutStrategy{Branch: branch},
		ShallowClone:     true,
	})
	if err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	fmt.Println(commit.Hash.String())
	return nil
}
