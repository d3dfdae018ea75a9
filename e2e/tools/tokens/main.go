// Command tokens writes tokens for a registry, good ones and bad ones, as a token service and those who attack it make
// them. What signs is go-jose, which has nothing in common with Berth, and the standard library.
//
//	tokens DIRECTORY
//
// writes keys.json (a JSON Web Key Set), bundle.pem (certificates that are believed), bundle-2.8.pem (those of them that Docker
// Registry 2.8 can read), and cases.json: a list of {"name", "token", "want"}, where want is "" for a token that may pull from
// team/app, or the error of the challenge.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"log"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	issuer  = "https://auth.example"
	service = "registry.example"
)

// A case is a token, and what it is to be answered with.
type testCase struct {
	Name  string `json:"name"`
	Token string `json:"token"`
	Want  string `json:"want"`
}

const (
	good         = ""
	invalid      = "invalid_token"
	insufficient = "insufficient_scope"
)

// A signer is a key with the algorithm that it signs with.
type signer struct {
	kid string
	alg jose.SignatureAlgorithm
	key crypto.Signer
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

func newKey(alg jose.SignatureAlgorithm) crypto.Signer {
	switch alg {
	case jose.ES256:
		return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	case jose.ES384:
		return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	case jose.ES512:
		return must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	case jose.EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		check(err)
		return key
	default:
		return must(rsa.GenerateKey(rand.Reader, 2048))
	}
}

type claims map[string]any

func access(kind, name string, actions ...string) map[string]any {
	return map[string]any{"type": kind, "name": name, "actions": actions}
}

// The claims of a token that may pull from team/app.
func usual() claims {
	now := time.Now().Unix()
	return claims{
		"iss": issuer, "sub": "alice", "aud": service, "exp": now + 3600, "nbf": now - 10, "iat": now, "jti": "one",
		"access": []any{access("repository", "team/app", "pull")},
	}
}

func (c claims) with(name string, value any) claims {
	changed := claims{}
	for key, of := range c {
		changed[key] = of
	}
	if value == nil {
		delete(changed, name)
	} else {
		changed[name] = value
	}
	return changed
}

func granting(grants ...any) claims {
	return usual().with("access", grants)
}

// sign makes a token with go-jose; what is in header comes beside the algorithm.
func (s signer) sign(c claims, header map[jose.HeaderKey]any) string {
	options := &jose.SignerOptions{}
	options.WithType("JWT")
	for key, value := range header {
		options.WithHeader(key, value)
	}
	made := must(jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, options))
	return must(must(made.Sign(must(json.Marshal(c)))).CompactSerialize())
}

func (s signer) named(c claims) string {
	return s.sign(c, map[jose.HeaderKey]any{"kid": s.kid})
}

func (s signer) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.key.Public(), KeyID: s.kid, Algorithm: string(s.alg), Use: "sig"}
}

func (s signer) embedded(c claims) string {
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType("JWT")
	key := jose.JSONWebKey{Key: s.key, KeyID: s.kid}
	made := must(jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: key}, options))
	return must(must(made.Sign(must(json.Marshal(c)))).CompactSerialize())
}

var raw = base64.RawURLEncoding

// byHand makes a token of a header and claims as they are written, signed by ES256 if there is a key.
func byHand(header, payload string, key *ecdsa.PrivateKey) string {
	signed := raw.EncodeToString([]byte(header)) + "." + raw.EncodeToString([]byte(payload))
	if key == nil {
		return signed + "."
	}
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	check(err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + raw.EncodeToString(signature)
}

func bySecret(alg, kid string, secret []byte, c claims) string {
	hashes := map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}
	header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, alg, kid)
	signed := raw.EncodeToString([]byte(header)) + "." + raw.EncodeToString(must(json.Marshal(c)))
	mac := hmac.New(hashes[alg], secret)
	mac.Write([]byte(signed))
	return signed + "." + raw.EncodeToString(mac.Sum(nil))
}

// An authority or a certificate of it.
type certified struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

var serial int64

func certify(key crypto.Signer, by *certified, change func(*x509.Certificate)) certified {
	serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprintf("tokens %d", serial)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(template)
	parent, signing := template, key
	if by != nil {
		parent, signing = by.certificate, by.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signing))
	return certified{must(x509.ParseCertificate(der)), key}
}

func authority(template *x509.Certificate) {
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign
}

func leaf(*x509.Certificate) {}

func chain(certificates ...certified) []string {
	var encoded []string
	for _, one := range certificates {
		encoded = append(encoded, base64.StdEncoding.EncodeToString(one.certificate.Raw))
	}
	return encoded
}

func (c certified) signs(alg jose.SignatureAlgorithm, x5c []string) string {
	return signer{alg: alg, key: c.key}.sign(usual(), map[jose.HeaderKey]any{"x5c": x5c})
}

// libtrust is the name that Docker Registry 2.8 has for a key.
func libtrust(key crypto.PublicKey) string {
	sum := sha256.Sum256(must(x509.MarshalPKIXPublicKey(key)))
	text := base32.StdEncoding.EncodeToString(sum[:30])
	var groups []string
	for at := 0; at < len(text); at += 4 {
		groups = append(groups, text[at:at+4])
	}
	return strings.Join(groups, ":")
}

func thumbprint(key crypto.PublicKey) string {
	of := jose.JSONWebKey{Key: key}
	return raw.EncodeToString(must(of.Thumbprint(crypto.SHA256)))
}

// withoutZeros is the thumbprint as Distribution 3 makes it, which leaves out the zeros in front of a coordinate.
func withoutZeros(key *ecdsa.PublicKey) string {
	point := must(key.Bytes())[1:]
	x, y := new(big.Int).SetBytes(point[:len(point)/2]), new(big.Int).SetBytes(point[len(point)/2:])
	canonical := fmt.Sprintf(`{"crv":%q,"kty":"EC","x":%q,"y":%q}`,
		key.Params().Name, raw.EncodeToString(x.Bytes()), raw.EncodeToString(y.Bytes()))
	sum := sha256.Sum256([]byte(canonical))
	return raw.EncodeToString(sum[:])
}

func text(value any) string {
	return string(must(json.Marshal(value)))
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: tokens DIRECTORY")
	}
	directory := os.Args[1]
	algorithms := []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
	var cases []testCase
	add := func(name, token, want string) { cases = append(cases, testCase{name, token, want}) }

	var set jose.JSONWebKeySet
	signers := map[jose.SignatureAlgorithm]signer{}
	root := certify(newKey(jose.ES256), nil, authority)
	between := certify(newKey(jose.RS256), &root, authority)
	bundle := []certified{root}
	for _, alg := range algorithms {
		of := signer{"key of " + string(alg), alg, newKey(alg)}
		signers[alg] = of
		set.Keys = append(set.Keys, of.jwk())
		add(string(alg)+" by kid", of.named(usual()), good)
		add(string(alg)+" by jwk", of.embedded(usual()), good)
		certificate := certify(newKey(alg), &between, leaf)
		add(string(alg)+" by x5c", certificate.signs(alg, chain(certificate, between)), good)
		alone := certify(newKey(alg), nil, leaf)
		bundle = append(bundle, alone)
		add(string(alg)+" by a certificate of the bundle", alone.signs(alg, chain(alone)), good)
		add(string(alg)+" by the thumbprint of a certificate",
			signer{thumbprint(alone.key.Public()), alg, alone.key}.named(usual()), good)
		if public, is := alone.key.Public().(*ecdsa.PublicKey); is {
			add(string(alg)+" by Distribution's name of a certificate",
				signer{withoutZeros(public), alg, alone.key}.named(usual()), good)
		}
		if alg != jose.EdDSA {
			add(string(alg)+" by libtrust's name of a certificate",
				signer{libtrust(alone.key.Public()), alg, alone.key}.named(usual()), good)
		}
	}
	es, rs := signers[jose.ES256], signers[jose.RS256]
	es256 := es.key.(*ecdsa.PrivateKey)
	now := time.Now().Unix()

	add("a list of audiences", es.named(usual().with("aud", []string{"other", service})), good)
	add("no time of its beginning", es.named(usual().with("nbf", nil)), good)
	add("ended, within the leeway", es.named(usual().with("exp", now-30)), good)
	add("begins, within the leeway", es.named(usual().with("nbf", now+30)), good)
	add("a fraction of a second", es.named(usual().with("exp", float64(now)+600.5)), good)
	add("everything on a repository", es.named(granting(access("repository", "team/app", "*"))), good)
	add("in two parts", es.named(granting(access("repository", "team/app", "push"), access("repository", "team/app", "pull"))), good)

	none := func(alg string) string {
		return byHand(fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, es.kid), text(usual()), nil)
	}
	for _, alg := range []string{"none", "None", "nOnE", "NONE", ""} {
		add(fmt.Sprintf("alg %q, not signed", alg), none(alg), invalid)
	}
	add("alg none, signed", byHand(`{"alg":"none","kid":"key of ES256"}`, text(usual()), es256), invalid)
	add("no alg", byHand(`{"kid":"key of ES256"}`, text(usual()), es256), invalid)
	spki := must(x509.MarshalPKIXPublicKey(rs.key.Public()))
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		add(alg+" by the public key in PEM", bySecret(alg, rs.kid, public, usual()), invalid)
	}
	add("HS256 by the public key in DER", bySecret("HS256", rs.kid, spki, usual()), invalid)
	add("HS256 by the modulus", bySecret("HS256", rs.kid, rs.key.Public().(*rsa.PublicKey).N.Bytes(), usual()), invalid)
	add("HS256 by the JWK", bySecret("HS256", rs.kid, must(rs.jwk().MarshalJSON()), usual()), invalid)
	add("HS256 by nothing", bySecret("HS256", rs.kid, nil, usual()), invalid)

	stranger := signer{"stranger", jose.ES256, newKey(jose.ES256)}
	add("kid of another key", signer{"key of ES256", jose.ES256, stranger.key}.named(usual()), invalid)
	add("kid of a key of another kind", signer{rs.kid, jose.ES256, es.key}.named(usual()), invalid)
	add("kid of nobody", stranger.named(usual()), invalid)
	add("kid that is a path", signer{"../../../../dev/null", jose.ES256, stranger.key}.named(usual()), invalid)
	add("kid that is an address", signer{"https://attacker.example/key", jose.ES256, stranger.key}.named(usual()), invalid)
	add("kid that is empty", byHand(`{"alg":"ES256","kid":""}`, text(usual()), es256), invalid)
	add("kid that is a number", byHand(`{"alg":"ES256","kid":7}`, text(usual()), es256), invalid)
	add("no key named", es.sign(usual(), nil), invalid)
	add("jku and x5u of others", stranger.sign(usual(), map[jose.HeaderKey]any{
		"jku": "https://attacker.example/keys", "x5u": "https://attacker.example/chain",
	}), invalid)

	add("ended", es.named(usual().with("exp", now-120)), invalid)
	add("without an end", es.named(usual().with("exp", nil)), invalid)
	add("ends at 0", es.named(usual().with("exp", 0)), invalid)
	add("ends at a text", es.named(usual().with("exp", fmt.Sprint(now+600))), invalid)
	add("not begun", es.named(usual().with("nbf", now+120)), invalid)
	add("for another", es.named(usual().with("aud", "other.example")), invalid)
	add("for others", es.named(usual().with("aud", []string{"other.example", "third.example"})), invalid)
	add("for nobody", es.named(usual().with("aud", nil)), invalid)
	add("for an empty list", es.named(usual().with("aud", []string{})), invalid)
	add("for the name in capitals", es.named(usual().with("aud", strings.ToUpper(service))), invalid)
	add("for a longer name", es.named(usual().with("aud", service+".attacker.example")), invalid)
	add("of another issuer", es.named(usual().with("iss", "https://attacker.example")), invalid)
	add("of no issuer", es.named(usual().with("iss", nil)), invalid)
	add("of the issuer with a slash", es.named(usual().with("iss", issuer+"/")), invalid)

	other := certify(newKey(jose.ES256), nil, authority)
	ofOther := certify(newKey(jose.ES256), &other, leaf)
	add("x5c to another root", ofOther.signs(jose.ES256, chain(ofOther, other)), invalid)
	add("x5c to another root, with ours behind it", ofOther.signs(jose.ES256, chain(ofOther, root)), invalid)
	ended := func(template *x509.Certificate) { template.NotAfter = time.Now().Add(-time.Minute) }
	early := func(template *x509.Certificate) { template.NotBefore = time.Now().Add(time.Minute) }
	past := certify(newKey(jose.ES256), &root, ended)
	add("x5c that has ended", past.signs(jose.ES256, chain(past)), invalid)
	future := certify(newKey(jose.ES256), &root, early)
	add("x5c that has not begun", future.signs(jose.ES256, chain(future)), invalid)
	pastBetween := certify(newKey(jose.ES256), &root, func(template *x509.Certificate) { authority(template); ended(template) })
	ofPast := certify(newKey(jose.ES256), &pastBetween, leaf)
	add("x5c by an authority that has ended", ofPast.signs(jose.ES256, chain(ofPast, pastBetween)), invalid)
	deep := certify(newKey(jose.ES256), &between, leaf)
	add("x5c without what lies between", deep.signs(jose.ES256, chain(deep)), invalid)
	noAuthority := certify(newKey(jose.ES256), &root, leaf)
	byNoAuthority := certify(newKey(jose.ES256), &noAuthority, leaf)
	add("x5c by who is no authority", byNoAuthority.signs(jose.ES256, chain(byNoAuthority, noAuthority)), invalid)
	add("x5c of others, signed by a stranger", certified{deep.certificate, stranger.key}.signs(jose.ES256, chain(deep, between)), invalid)
	add("x5c that is no Base64", es.sign(usual(), map[jose.HeaderKey]any{"x5c": []string{"*"}}), invalid)
	add("x5c that is empty", es.sign(usual(), map[jose.HeaderKey]any{"x5c": []string{}}), invalid)
	add("x5c that is no certificate", es.sign(usual(), map[jose.HeaderKey]any{"x5c": []string{"AAAA"}}), invalid)

	add("jwk of a stranger", stranger.embedded(usual()), invalid)
	add("jwk of a stranger by our name", signer{es.kid, jose.ES256, stranger.key}.embedded(usual()), invalid)
	vouched := stranger.jwk()
	vouched.Certificates = []*x509.Certificate{ofOther.certificate, other.certificate}
	vouched.Key = ofOther.key.Public()
	add("jwk with a chain to another root", byHand(
		fmt.Sprintf(`{"alg":"ES256","jwk":%s}`, must(vouched.MarshalJSON())), text(usual()), ofOther.key.(*ecdsa.PrivateKey)), invalid)
	add("jwk that is a shared secret", byHand(`{"alg":"ES256","jwk":{"kty":"oct","k":"AAAA"}}`, text(usual()), es256), invalid)

	whole := es.named(usual())
	parts := strings.Split(whole, ".")
	more := raw.EncodeToString([]byte(text(granting(access("repository", "team/app", "*")))))
	signature := must(raw.DecodeString(parts[2]))
	add("other claims", parts[0]+"."+more+"."+parts[2], invalid)
	add("no signature", parts[0]+"."+parts[1]+".", invalid)
	add("half of the signature", parts[0]+"."+parts[1]+"."+raw.EncodeToString(signature[:32]), invalid)
	add("a signature of zeros", parts[0]+"."+parts[1]+"."+raw.EncodeToString(make([]byte, 64)), invalid)
	signed := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	der := must(ecdsa.SignASN1(rand.Reader, es256, signed[:]))
	add("a signature in DER", parts[0]+"."+parts[1]+"."+raw.EncodeToString(der), invalid)
	add("two parts", parts[0]+"."+parts[1], invalid)
	add("four parts", whole+"."+parts[2], invalid)
	add("five parts", whole+"."+parts[1]+"."+parts[2], invalid)
	add("with padding", parts[0]+"=."+parts[1]+"."+parts[2], invalid)
	add("in JSON", fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2]), invalid)
	add("no Base64", "a*.b*.c*", invalid)
	add("claims that are no JSON", byHand(`{"alg":"ES256","kid":"key of ES256"}`, "no JSON", es256), invalid)
	add("a header that is no JSON", byHand("no JSON", text(usual()), es256), invalid)

	twice := func(name string, value any) string {
		body := strings.TrimPrefix(text(usual()), "{")
		return byHand(`{"alg":"ES256","kid":"key of ES256"}`, fmt.Sprintf("{%q:%s,%s", name, text(value), body), es256)
	}
	add("exp twice", twice("exp", now-600), invalid)
	add("iss twice", twice("iss", "https://attacker.example"), invalid)
	add("aud twice", twice("aud", "other.example"), invalid)
	add("access twice", twice("access", []any{access("repository", "team/app", "*")}), invalid)
	add("an unknown claim twice", byHand(`{"alg":"ES256","kid":"key of ES256"}`,
		`{"zz":1,"zz":2,`+strings.TrimPrefix(text(usual()), "{"), es256), invalid)
	add("alg twice", byHand(`{"alg":"none","alg":"ES256","kid":"key of ES256"}`, text(usual()), es256), invalid)
	add("crit", byHand(`{"alg":"ES256","kid":"key of ES256","crit":["b64"],"b64":true}`, text(usual()), es256), invalid)
	var grants []any
	for number := 0; number < 3000; number++ {
		grants = append(grants, access("repository", fmt.Sprintf("team/app-%d", number), "pull", "push"))
	}
	add("too large", es.named(granting(grants...)), invalid)

	for name, grant := range map[string]any{
		"another repository":             access("repository", "team/other", "pull"),
		"the directory above":            access("repository", "team", "pull"),
		"a repository below":             access("repository", "team/app/sub", "pull"),
		"a name with dots":               access("repository", "team/../team/app", "pull"),
		"a name with a dot":              access("repository", "team/./app", "pull"),
		"a name with a slash at its end": access("repository", "team/app/", "pull"),
		"a name in capitals":             access("repository", "TEAM/APP", "pull"),
		"a name that is encoded":         access("repository", "team%2Fapp", "pull"),
		"a pattern":                      access("repository", "team/*", "pull"),
		"everything":                     access("repository", "*", "*"),
		"another kind":                   access("registry", "team/app", "pull"),
		"the kind in capitals":           access("Repository", "team/app", "pull"),
		"another action":                 access("repository", "team/app", "push"),
		"the action in capitals":         access("repository", "team/app", "PULL"),
		"actions as one text":            access("repository", "team/app", "pull,push"),
		"no action":                      access("repository", "team/app"),
		"a letter that looks alike":      access("repository", "te\u0430m/app", "pull"),
	} {
		add("granted: "+name, es.named(granting(grant)), insufficient)
	}
	add("granted: nothing", es.named(usual().with("access", nil)), insufficient)

	write := func(name string, content []byte) {
		check(os.WriteFile(filepath.Join(directory, name), content, 0o600))
	}
	write("keys.json", must(json.Marshal(set)))
	var certificates, old []byte
	for _, one := range bundle {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.certificate.Raw})
		certificates = append(certificates, block...)
		if _, isNew := one.key.(ed25519.PrivateKey); !isNew {
			old = append(old, block...)
		}
	}
	write("bundle.pem", certificates)
	write("bundle-2.8.pem", old)
	write("cases.json", must(json.MarshalIndent(cases, "", " ")))
}
