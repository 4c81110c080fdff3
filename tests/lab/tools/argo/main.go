// Reads a repository as Argo CD's repo-server does: the Secrets that are on standard input (a List) are its settings, out of which
// its own code finds the credentials of the repository for an Application of a project, and its own git client asks the remote for a
// branch.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/v3/util/db"
	"github.com/argoproj/argo-cd/v3/util/git"
	"github.com/argoproj/argo-cd/v3/util/settings"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

const namespace = "argocd"

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: argo-reader URL BRANCH PROJECT < secrets.json")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "argo-reader:", err)
		os.Exit(1)
	}
}

func run(url, branch, project string) error {
	ctx := context.Background()
	var secrets corev1.SecretList
	if err := json.NewDecoder(os.Stdin).Decode(&secrets); err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	own := metav1.ObjectMeta{Namespace: namespace, Labels: map[string]string{"app.kubernetes.io/part-of": "argocd"}}
	config, secret := own, own
	config.Name, secret.Name = "argocd-cm", "argocd-secret"
	objects := []runtime.Object{&corev1.ConfigMap{ObjectMeta: config}, &corev1.Secret{ObjectMeta: secret}}
	for i := range secrets.Items {
		objects = append(objects, &secrets.Items[i])
	}
	cluster := fake.NewSimpleClientset(objects...)
	database := db.NewDB(namespace, settings.NewSettingsManager(ctx, cluster, namespace), cluster)
	repository, err := database.GetRepository(ctx, url, project)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	client, err := git.NewClient(url, repository.GetGitCreds(git.NoopCredsStore{}), repository.IsInsecure(), false, "", "")
	if err != nil {
		return err
	}
	commit, err := client.LsRemote(branch)
	if err != nil {
		return fmt.Errorf("ls-remote with the user %q: %w", repository.Username, err)
	}
	fmt.Println(commit)
	return nil
}
