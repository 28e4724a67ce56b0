# SPDX-License-Identifier: MIT
# An ordinary program: its secret is a file, and it asks for a report as on any confidential Linux.
import hashlib, os

secret = open("/run/secrets/greeting", "rb").read()
print("secret", hashlib.sha256(secret).hexdigest())
folder = "/sys/kernel/config/tsm/report/demo"
os.mkdir(folder)
with open(folder + "/inblob", "wb") as inblob:
    inblob.write(bytes.fromhex(os.environ["NONCE"]).ljust(64, b"\0"))
for blob in ("outblob", "auxblob"):
    print(blob, open(folder + "/" + blob, "rb").read().hex())
