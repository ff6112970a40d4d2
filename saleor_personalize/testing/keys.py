"""An RSA key that signs like a shop: webhooks (detached JWS) and JWTs. For tests and the demo."""

import json
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm


@dataclass(frozen=True)
class SigningKey:
    private_key: rsa.RSAPrivateKey
    kid: str

    @classmethod
    def generate(cls, kid: str) -> "SigningKey":
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=2048), kid)

    def jwks(self) -> dict[str, Any]:
        """Return the public half as a JSON Web Key Set (RFC 7517)."""
        public = json.loads(RSAAlgorithm.to_jwk(self.private_key.public_key()))
        return {"keys": [{**public, "kid": self.kid, "use": "sig", "key_ops": ["verify"]}]}

    def sign_webhook(self, body: bytes) -> str:
        """Return Saleor's `Saleor-Signature`: a detached JWS (RFC 7515 app. F, RFC 7797) of `body`."""
        return jwt.api_jws.encode(
            body,
            self.private_key,
            algorithm="RS256",
            headers={"kid": self.kid, "typ": "JWT"},
            is_payload_detached=True,
        )

    def jwt(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self.private_key, algorithm="RS256", headers={"kid": self.kid})


#: One key for a whole test run: making one takes a noticeable part of a second.
TEST_KEY = SigningKey.generate("test-key")
