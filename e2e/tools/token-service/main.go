// Command token-service is a small authorization service for container registries: an example to begin from, and what Berth
// is tested with. It implements the specification of token authentication that CNCF Distribution publishes:
//
//	[token]  https://distribution.github.io/distribution/spec/auth/token/   GET /token
//	[oauth]  https://distribution.github.io/distribution/spec/auth/oauth/   POST /token
//	[jwt]    https://distribution.github.io/distribution/spec/auth/jwt/     what a token holds
//	[scope]  https://distribution.github.io/distribution/spec/auth/scope/   what is asked for
//
// The users are lines of a file, NAME:PASSWORD:REPOSITORIES:ACTIONS, several for one name if need be:
//
//	alice:wonderland:home/alice/**:*
//	alice::team/*:pull,push
//	root:swordfish:**:*
//	*::public/**:pull
//
// REPOSITORIES is a name in which * is any text within one component, and /** at the end everything below; ** alone is
// everything, the catalog included. ACTIONS are separated by commas; * is all of them. What is there for the name * is for
// everybody, also who says no name. To have users from elsewhere, replace authenticate and allows; the rest stays as it is.
//
// It speaks plain HTTP: put a proxy in front of it that speaks TLS, since passwords pass by here. Refresh tokens are kept in
// memory, and count no more when it ends.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// [token] "a token should never be returned with less than 60 seconds to live".
	lifetime = 5 * time.Minute
	maxForm  = 64 << 10
)

// A rule is a line of the file of users.
type rule struct{ name, password, repositories, actions string }

// access is what may be done with one thing, as a token says it [jwt].
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// An owner is whom a refresh token is for: [scope] "a single subject and audience".
type owner struct{ subject, service string }

type server struct {
	issuer   string
	services []string
	rules    []rule
	signer   jose.Signer

	mutex   sync.Mutex
	refresh map[[32]byte]owner // by the hash of the token
}

// authenticate says whether this is the user's password. Nobody has the name *, which is that of everybody, nor an empty
// password.
func (s *server) authenticate(name, password string) bool {
	found := false
	for _, rule := range s.rules {
		isIt := subtle.ConstantTimeCompare([]byte(rule.password), []byte(password)) == 1
		if isIt && rule.name == name && name != "*" && password != "" {
			found = true
		}
	}
	return found
}

// allows says whether somebody may do this; the subject is empty for who says no name.
func (s *server) allows(subject, kind, name, action string) bool {
	return slices.ContainsFunc(s.rules, func(rule rule) bool {
		isOf := rule.name == "*" || rule.name == subject
		may := rule.actions == "*" || slices.Contains(strings.Split(rule.actions, ","), action)
		switch kind {
		case "repository":
			return isOf && may && matches(rule.repositories, name)
		case "registry": // the catalog
			return isOf && may && rule.repositories == "**"
		}
		return false
	})
}

func matches(pattern, name string) bool {
	if pattern == "**" {
		return true
	}
	if above, is := strings.CutSuffix(pattern, "/**"); is {
		depth := strings.Count(above, "/") + 1
		parts := strings.SplitN(name, "/", depth+1)
		return len(parts) > depth && matches(above, strings.Join(parts[:depth], "/"))
	}
	is, err := path.Match(pattern, name)
	return is && err == nil
}

// granted is what of the scopes somebody gets. [token] "If the client only has a subset of the requested access it must not be
// considered an error": the registry says what is missing.
func (s *server) granted(subject string, scopes []string) []access {
	granted := []access{}
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		// [scope] type:name:actions, where the name may hold a colon.
		kind, rest, _ := strings.Cut(scope, ":")
		at := strings.LastIndex(rest, ":")
		if at < 0 {
			continue
		}
		name, wanted := rest[:at], strings.Split(rest[at+1:], ",")
		// [scope] "repository and repository(plugin) are considered equal".
		kind, _, _ = strings.Cut(kind, "(")
		refused := func(action string) bool { return !s.allows(subject, kind, name, action) }
		if actions := slices.DeleteFunc(wanted, refused); len(actions) > 0 {
			granted = append(granted, access{kind, name, actions})
		}
	}
	return granted
}

// issue answers with a token for as much of the scopes as the subject may have.
func (s *server) issue(w http.ResponseWriter, subject, service string, scopes []string, refresh string) {
	now := time.Now()
	granted := s.granted(subject, scopes)
	claims := map[string]any{ // [jwt]
		"iss": s.issuer, "sub": subject, "aud": service, "jti": rand.Text(), "access": granted,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}
	signed := must(s.signer.Sign(must(json.Marshal(claims))))
	token := must(signed.CompactSerialize())
	var scope []string
	for _, of := range granted {
		scope = append(scope, of.Type+":"+of.Name+":"+strings.Join(of.Actions, ","))
	}
	answer := map[string]any{
		"token": token, "access_token": token, // [token] both, for older clients
		"expires_in": int(lifetime.Seconds()), "issued_at": now.UTC().Format(time.RFC3339),
		"scope": strings.Join(scope, " "), // [oauth] required there
	}
	if refresh != "" {
		answer["refresh_token"] = refresh
	}
	reply(w, http.StatusOK, answer)
}

// newRefresh makes a refresh token for somebody.
func (s *server) newRefresh(of owner) string {
	if of.subject == "" {
		return ""
	}
	token := rand.Text() + rand.Text()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.refresh[sha256.Sum256([]byte(token))] = of
	return token
}

// get is GET /token?service=…&scope=…&scope=…, with a name and a password or without [token]. `account` repeats the name.
func (s *server) get(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	name, password, given := r.BasicAuth()
	// [token] "If an attempt to authenticate to the token server fails, the token server should return a 401".
	if given && !s.authenticate(name, password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="token service"`)
		reply(w, http.StatusUnauthorized, failure("invalid_client", "wrong name or password"))
		return
	}
	service := query.Get("service")
	if !slices.Contains(s.services, service) {
		reply(w, http.StatusBadRequest, failure("invalid_request", "unknown service"))
		return
	}
	refresh := ""
	if query.Get("offline_token") == "true" {
		refresh = s.newRefresh(owner{name, service})
	}
	s.issue(w, name, service, query["scope"], refresh)
}

// post is POST /token [oauth]: a password, or a refresh token, in a form. Errors are those of RFC 6749, 5.2.
func (s *server) post(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.ParseForm() != nil {
		reply(w, http.StatusBadRequest, failure("invalid_request", "no form"))
		return
	}
	form := r.PostForm
	service, subject, refresh := form.Get("service"), "", ""
	if !slices.Contains(s.services, service) {
		reply(w, http.StatusBadRequest, failure("invalid_request", "unknown service"))
		return
	}
	switch form.Get("grant_type") {
	case "password":
		subject = form.Get("username")
		if !s.authenticate(subject, form.Get("password")) {
			reply(w, http.StatusBadRequest, failure("invalid_grant", "wrong name or password"))
			return
		}
		if form.Get("access_type") == "offline" {
			refresh = s.newRefresh(owner{subject, service})
		}
	case "refresh_token":
		refresh = form.Get("refresh_token")
		s.mutex.Lock()
		of, known := s.refresh[sha256.Sum256([]byte(refresh))]
		s.mutex.Unlock()
		// [oauth] "Refresh tokens will only be good for getting tokens for this service".
		if !known || of.service != service {
			reply(w, http.StatusBadRequest, failure("invalid_grant", "the refresh token does not count"))
			return
		}
		subject = of.subject
	default:
		reply(w, http.StatusBadRequest, failure("unsupported_grant_type", "password or refresh_token"))
		return
	}
	s.issue(w, subject, service, []string{form.Get("scope")}, refresh)
}

func failure(code, text string) map[string]any {
	return map[string]any{"error": code, "error_description": text, "details": text}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

// readKey reads the private key, which is made first if it is not there.
func readKey(file string, algorithm jose.SignatureAlgorithm) crypto.Signer {
	content, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		var key crypto.Signer
		switch algorithm {
		case jose.ES256:
			key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		case jose.RS256:
			key = must(rsa.GenerateKey(rand.Reader, 2048))
		default:
			log.Fatalf("%s is neither ES256 nor RS256", algorithm)
		}
		content = encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
		check(os.WriteFile(file, content, 0o600))
	} else {
		check(err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		log.Fatalf("%s: no PEM", file)
	}
	return must(x509.ParsePKCS8PrivateKey(block.Bytes)).(crypto.Signer)
}

// certify signs a certificate of the key by the key itself, for registries that know keys by certificates.
func certify(key crypto.Signer, name string) []byte {
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	return must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
}

func readRules(file string) []rule {
	var rules []rule
	for number, line := range strings.Split(string(must(os.ReadFile(file))), "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, ":")
		if len(fields) != 4 || fields[0] == "" {
			log.Fatalf("%s, line %d: not NAME:PASSWORD:REPOSITORIES:ACTIONS", file, number+1)
		}
		rules = append(rules, rule{fields[0], fields[1], fields[2], fields[3]})
	}
	return rules
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func main() {
	listen := flag.String("listen", "127.0.0.1:5002", "the address to listen on; with port 0 any free one, which is printed")
	issuer := flag.String("issuer", "", "what this service is called in tokens (iss)")
	services := flag.String("services", "", "the registries that tokens are for (aud), separated by commas")
	users := flag.String("users", "", "the file of users: NAME:PASSWORD:REPOSITORIES:ACTIONS")
	keyFile := flag.String("key", "", "the file of the private key (PEM), which is made if it is not there")
	algorithm := flag.String("algorithm", "ES256", "ES256 or RS256")
	jwks := flag.String("jwks", "", "write the public key there, as a JSON Web Key Set")
	certificate := flag.String("certificate", "", "write a certificate of the key there (PEM), and have tokens carry it (x5c)")
	flag.Parse()
	if *issuer == "" || *services == "" || *users == "" || *keyFile == "" {
		log.Fatal("-issuer, -services, -users and -key are needed; -help says what they are")
	}

	alg := jose.SignatureAlgorithm(*algorithm)
	key := readKey(*keyFile, alg)
	public := jose.JSONWebKey{Key: key.Public(), Algorithm: *algorithm, Use: "sig"}
	// The name of the key is its thumbprint (RFC 7638), by which Distribution 3 and Berth also know it of a certificate.
	public.KeyID = base64.RawURLEncoding.EncodeToString(must(public.Thumbprint(crypto.SHA256)))
	keys := must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}))
	if *jwks != "" {
		check(os.WriteFile(*jwks, keys, 0o644))
	}
	// A registry is told which key has signed by `kid`, or by the whole certificate, which Docker Registry 2.8 needs. Never by
	// both: Distribution 3 looks at the certificate then, and believes no other key.
	options := (&jose.SignerOptions{}).WithType("JWT")
	if *certificate == "" {
		options = options.WithHeader("kid", public.KeyID)
	} else {
		der := certify(key, *issuer)
		check(os.WriteFile(*certificate, encode("CERTIFICATE", der), 0o644))
		options = options.WithHeader("x5c", []string{base64.StdEncoding.EncodeToString(der)})
	}
	s := &server{
		issuer: *issuer, services: strings.Split(*services, ","), rules: readRules(*users),
		signer:  must(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)),
		refresh: map[[32]byte]owner{},
	}
	http.HandleFunc("GET /token", s.get)
	http.HandleFunc("POST /token", s.post)
	http.HandleFunc("GET /jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		if _, err := w.Write(keys); err != nil {
			log.Print(err)
		}
	})
	listener := must(net.Listen("tcp", *listen))
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal((&http.Server{ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}).Serve(listener))
}
