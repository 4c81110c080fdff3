// Vault's core as a server for tests: transit, Kubernetes auth and AppRole, storage in a folder, so that a restart finds all again.
//
// Prints "listening URL" when it serves. The root token is the one it is told; the key that unseals is kept in the folder.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	log "github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/vault"
)

type options struct{ listen, data, rootToken, cert, key, log string }

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to serve on")
	flag.StringVar(&o.data, "data", "", "folder of the storage")
	flag.StringVar(&o.rootToken, "root-token", "root", "the root token")
	flag.StringVar(&o.cert, "tls-cert", "", "PEM file of the certificate; without it, plain HTTP")
	flag.StringVar(&o.key, "tls-key", "", "PEM file of the certificate's key")
	flag.StringVar(&o.log, "log", "warn", "log level")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	core, err := newCore(o)
	if err != nil {
		return err
	}
	if err := open(core, o); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	scheme := "http"
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
		scheme = "https"
	}
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core:           core,
		ListenerConfig: &configutil.Listener{Address: listener.Addr().String()},
	})
	fmt.Printf("listening %s://%s\n", scheme, listener.Addr())
	return http.Serve(listener, handler)
}

func newCore(o options) (*vault.Core, error) {
	logger := log.New(&log.LoggerOptions{Level: log.LevelFromString(o.log), Output: os.Stderr})
	storage, err := file.NewFileBackend(map[string]string{"path": filepath.Join(o.data, "storage")}, logger)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		StorageType:        "file",
		Logger:             logger,
		DisableMlock:       true,
		BuiltinRegistry:    registry{},
		LogicalBackends:    map[string]logical.Factory{"transit": transit.Factory},
		CredentialBackends: map[string]logical.Factory{"kubernetes": kubernetes.Factory, "approle": approle.Factory},
	})
	if err != nil {
		return nil, fmt.Errorf("core: %w", err)
	}
	return core, nil
}

// open unseals the storage; at the first start it is initialised, and the root token made.
func open(core *vault.Core, o options) error {
	ctx := namespace.RootContext(context.Background())
	unseal := filepath.Join(o.data, "unseal")
	if share, err := os.ReadFile(unseal); err == nil {
		_, err := core.Unseal(share)
		return err
	}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}})
	if err != nil {
		return fmt.Errorf("initialise: %w", err)
	}
	if _, err := core.Unseal(made.SecretShares[0]); err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	response, err := core.HandleRequest(ctx, &logical.Request{
		ID:          "root-token",
		Operation:   logical.UpdateOperation,
		ClientToken: made.RootToken,
		Path:        "auth/token/create",
		Data: map[string]interface{}{
			"id": o.rootToken, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true,
		},
	})
	if err != nil {
		return fmt.Errorf("root token: %w", err)
	}
	if response.IsError() {
		return response.Error()
	}
	return os.WriteFile(unseal, made.SecretShares[0], 0o600)
}

// registry lists the plugins that are built in.
type registry struct{}

func (registry) factory(name string, kind consts.PluginType) logical.Factory {
	switch {
	case name == "transit" && kind == consts.PluginTypeSecrets:
		return transit.Factory
	case name == "kubernetes" && kind == consts.PluginTypeCredential:
		return kubernetes.Factory
	case name == "approle" && kind == consts.PluginTypeCredential:
		return approle.Factory
	}
	return nil
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	return r.factory(name, kind) != nil
}

func (r registry) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	factory := r.factory(name, kind)
	return func() (interface{}, error) { return factory, nil }, factory != nil
}

func (registry) Keys(kind consts.PluginType) []string {
	switch kind {
	case consts.PluginTypeSecrets:
		return []string{"transit"}
	case consts.PluginTypeCredential:
		return []string{"approle", "kubernetes"}
	}
	return nil
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
