"""Polynomials, the constant coefficient first: made by `references/polynomials_reference.py`.

A pair of "high" and "low" is one number to twice the precision."""

from __future__ import annotations

_hex = float.fromhex

# (1 + 2y)·exp(y²)·erfc(y) in t = (y − 4)/(y + 4)
ERFC_HEAD = (
    (_hex("0x1.3ba5916e9fd7fp+0"), _hex("-0x1.9e3cc2b030f03p-55")),
    (_hex("-0x1.1df1ad154a28ep-3"), _hex("-0x1.07c0e2479657bp-57")),
)
ERFC = (
    _hex("0x1.f7f5df66fd6bap-7"),
    _hex("0x1.16ecefcfa5383p-4"),
    _hex("-0x1.9ddb23c3e89f3p-4"),
    _hex("0x1.7fee004e1295bp-4"),
    _hex("-0x1.0fb06dfe52605p-4"),
    _hex("0x1.3079edf67777bp-5"),
    _hex("-0x1.096238838fb04p-6"),
    _hex("0x1.49c6728a1a0f0p-8"),
    _hex("-0x1.8d4a9b0690e08p-11"),
    _hex("-0x1.a1df289a58f28p-13"),
    _hex("0x1.3be04c486a75ep-13"),
    _hex("-0x1.9958e21c32f5cp-16"),
    _hex("-0x1.78862b6b1e3abp-17"),
    _hex("0x1.7f2545048fbf3p-18"),
    _hex("0x1.398374178fe8cp-22"),
    _hex("-0x1.baf5e74545cc2p-21"),
    _hex("0x1.4cb0ece36623dp-24"),
    _hex("0x1.d98825ca9deb5p-24"),
    _hex("-0x1.611fc8f45b510p-26"),
    _hex("-0x1.fcc3a5268653fp-27"),
    _hex("0x1.b34e17ed4ff9fp-29"),
    _hex("0x1.f5d7df6dfda90p-30"),
    _hex("-0x1.24000f0a15ee9p-32"),
    _hex("-0x1.3ab58f87cfb03p-33"),
)
# (erf(x)/x − 2/√π)/x² in x², |x| ≤ 1
ERF = (
    _hex("-0x1.812746b0379e7p-2"),
    _hex("0x1.ce2f21a042bd7p-4"),
    _hex("-0x1.b82ce312882f8p-6"),
    _hex("0x1.565bcd0e434bbp-8"),
    _hex("-0x1.c02db3f4735cbp-11"),
    _hex("0x1.f9a324ddf0f34p-14"),
    _hex("-0x1.f4d21efdafc7dp-17"),
    _hex("0x1.b9e2333703249p-20"),
    _hex("-0x1.5f39372686202p-23"),
    _hex("0x1.f8d476ab1a455p-27"),
    _hex("-0x1.3c1e91b012003p-30"),
    _hex("0x1.0f8a27a51ad26p-34"),
)
# (tan(x)/x − 1)/x² in x², |x| ≤ π/4
TAN = (
    _hex("0x1.5555555555555p-2"),
    _hex("0x1.111111111111bp-3"),
    _hex("0x1.ba1ba1ba1a50ep-5"),
    _hex("0x1.664f48834fc3cp-6"),
    _hex("0x1.226e353ec05efp-7"),
    _hex("0x1.d6d3d95bb5fefp-9"),
    _hex("0x1.7da2a63e3080ep-10"),
    _hex("0x1.356399c9ba224p-11"),
    _hex("0x1.f482427c83f8ep-13"),
    _hex("0x1.9e45a3a01bd75p-14"),
    _hex("0x1.1c960876a4bfbp-15"),
    _hex("0x1.c6ead8dd6f488p-16"),
    _hex("-0x1.567206bd64259p-17"),
    _hex("0x1.47e48bd399d5fp-16"),
    _hex("-0x1.471d195bd8f33p-17"),
    _hex("0x1.091b095b10820p-18"),
)
# (atan(x)/x − 1)/x² in x², |x| ≤ 1
ATAN = (
    _hex("-0x1.5555555555555p-2"),
    _hex("0x1.999999999997dp-3"),
    _hex("-0x1.2492492491234p-3"),
    _hex("0x1.c71c71c6882cdp-4"),
    _hex("-0x1.745d1731e853fp-4"),
    _hex("0x1.3b13af957f086p-4"),
    _hex("-0x1.1110f9a06b09dp-4"),
    _hex("0x1.e1e0069edf96ep-5"),
    _hex("-0x1.af1a76061e434p-5"),
    _hex("0x1.85c82bf04fbd6p-5"),
    _hex("-0x1.62c464c86804fp-5"),
    _hex("0x1.42a843b89b0ebp-5"),
    _hex("-0x1.20f157ad652dfp-5"),
    _hex("0x1.f0f041d3e2f50p-6"),
    _hex("-0x1.8c59dbc673323p-6"),
    _hex("0x1.198ad7e0bd0c6p-6"),
    _hex("-0x1.552f78ddf9b30p-7"),
    _hex("0x1.50ea3497605b5p-8"),
    _hex("-0x1.0110cfd66bd22p-9"),
    _hex("0x1.19e6b726893d0p-11"),
    _hex("-0x1.890e58e18ff08p-14"),
    _hex("0x1.04a3628aee536p-17"),
)
# (asin(x)/x − 1)/x² in x², |x| ≤ ½
ASIN = (
    _hex("0x1.5555555555555p-3"),
    _hex("0x1.3333333333388p-4"),
    _hex("0x1.6db6db6dac1e0p-5"),
    _hex("0x1.f1c71c7a52ba3p-6"),
    _hex("0x1.6e8ba123e494cp-6"),
    _hex("0x1.1c4efce23019fp-6"),
    _hex("0x1.c990ad3d8fdcap-7"),
    _hex("0x1.7b027ee1dd585p-7"),
    _hex("0x1.3b49de7121487p-7"),
    _hex("0x1.31622469ce5adp-7"),
    _hex("0x1.8f193743418ffp-9"),
    _hex("0x1.406192d124629p-6"),
    _hex("-0x1.3b416bb7d9257p-6"),
    _hex("0x1.e529c6fce9bb4p-6"),
)
# lgamma(1 + u)/(u·(u − 1)) in t = 2u − 1, 0 ≤ u ≤ 1
LGAMMA_1_HEAD = (
    (_hex("0x1.eeb95b094c191p-2"), _hex("0x1.3ed469cc0967dp-56")),
    (_hex("-0x1.2aed059bd608ap-4"), _hex("-0x1.519151869fe53p-61")),
)
LGAMMA_1 = (
    _hex("0x1.01af62a2929c0p-6"),
    _hex("-0x1.007aa83cee1acp-8"),
    _hex("0x1.133423527f1f2p-10"),
    _hex("-0x1.34dbda14971e2p-12"),
    _hex("0x1.64f0664c4f943p-14"),
    _hex("-0x1.a5035232a7d25p-16"),
    _hex("0x1.f814bab49d011p-18"),
    _hex("-0x1.313e8a3ddad6fp-19"),
    _hex("0x1.750a7900f071ep-21"),
    _hex("-0x1.cb44dee9fac00p-23"),
    _hex("0x1.1c7e3a261c9ebp-24"),
    _hex("-0x1.623f109df00eep-26"),
    _hex("0x1.b9e43433855c2p-28"),
    _hex("-0x1.156abea920aefp-29"),
    _hex("0x1.68f13e0fbb796p-31"),
    _hex("-0x1.c85e4bc95846cp-33"),
    _hex("0x1.ba730a9784e07p-35"),
    _hex("-0x1.18598e23bb974p-36"),
    _hex("0x1.9759e019683d0p-37"),
    _hex("-0x1.0467902760469p-38"),
)
# lgamma(x)/(x − 2) in t = x − 3, 2 ≤ x ≤ 4
LGAMMA_2_HEAD = (
    (_hex("0x1.62e42fefa39efp-1"), _hex("0x1.abc9e3b39803fp-56")),
    (_hex("0x1.d64c012583fddp-3"), _hex("-0x1.608f6b791fb3bp-57")),
)
LGAMMA_2 = (
    _hex("-0x1.0789a24308248p-5"),
    _hex("0x1.a8f7a26d77534p-8"),
    _hex("-0x1.90bbdd38549acp-10"),
    _hex("0x1.9c394c5fdcbb4p-12"),
    _hex("-0x1.bfe20678e6309p-14"),
    _hex("0x1.f903595a78c36p-16"),
    _hex("-0x1.245acf6b0e160p-17"),
    _hex("0x1.5934577fc0c81p-19"),
    _hex("-0x1.9dc647b54413cp-21"),
    _hex("0x1.f5e0c2176652dp-23"),
    _hex("-0x1.3338d4f68882ap-24"),
    _hex("0x1.7a49ec3abf577p-26"),
    _hex("-0x1.d5a4ea5e18586p-28"),
    _hex("0x1.2cb438131f611p-29"),
    _hex("-0x1.7937dc1f6b216p-31"),
    _hex("0x1.7a4e91648f8bdp-33"),
    _hex("-0x1.dc8f668ba1d87p-35"),
    _hex("0x1.4286e31bc0f40p-35"),
    _hex("-0x1.9aafd516fe9a0p-37"),
)
# lgamma(x) in t = (x − 6)/2, 4 ≤ x ≤ 8
LGAMMA_4_HEAD = (
    (_hex("0x1.326643c4479c9p+2"), _hex("0x1.a53c2789a6631p-53")),
    (_hex("0x1.b4c420a50ad7cp+1"), _hex("0x1.b4690a9cab4b8p-53")),
)
LGAMMA_4 = (
    _hex("0x1.735973273d5ebp-2"),
    _hex("-0x1.6626bc9b3221ep-5"),
    _hex("0x1.0262026c6cff2p-7"),
    _hex("-0x1.be37a8975cc85p-10"),
    _hex("0x1.ab0713fafef48p-12"),
    _hex("-0x1.b4c58ef81573fp-14"),
    _hex("0x1.d3f25a3e497d2p-16"),
    _hex("-0x1.035978b2f1c88p-17"),
    _hex("0x1.27058b1ecaa86p-19"),
    _hex("-0x1.567fb96ebd8b9p-21"),
    _hex("0x1.9417fa75b5d16p-23"),
    _hex("-0x1.e24c50d49e692p-25"),
    _hex("0x1.237216e9ef229p-26"),
    _hex("-0x1.6bdf45d7cc7b1p-28"),
    _hex("0x1.bf985a6c38cb9p-30"),
    _hex("-0x1.bf77acde9ba1fp-32"),
    _hex("0x1.155130f952ceep-33"),
    _hex("-0x1.6a86c68247b49p-34"),
    _hex("0x1.c9151c2e00663p-36"),
)
# x·(lgamma(x) − (x − ½)·log x + x − ½·log 2π) in x⁻², x ≥ 8
STIRLING = (
    _hex("0x1.5555555555555p-4"),
    _hex("-0x1.6c16c16c16b29p-9"),
    _hex("0x1.a01a019ee0dbep-11"),
    _hex("-0x1.38137ec070147p-11"),
    _hex("0x1.b94f6d6592192p-11"),
    _hex("-0x1.f5ff2fdcdf048p-10"),
    _hex("0x1.96db40614b193p-8"),
    _hex("-0x1.55b3a71b66a2ep-6"),
)
# ψ(1 + u)/(1 + u − x₀) in t = 2u − 1, 0 ≤ u ≤ 1; x₀ is the zero of ψ
PSI_1_HEAD = (
    (_hex("0x1.e6f0cbb873616p-1"), _hex("0x1.8f70c7a125e6ap-55")),
    (_hex("-0x1.b1cb63005ee98p-3"), _hex("-0x1.5938ea1a32601p-57")),
)
PSI_1 = (
    _hex("0x1.eca189b8e6f6dp-5"),
    _hex("-0x1.2feeeb98a78eap-6"),
    _hex("0x1.8512e5903903ep-8"),
    _hex("-0x1.fb44202a2306bp-10"),
    _hex("0x1.4de9aa1779d23p-11"),
    _hex("-0x1.b9f8b11bfd3d0p-13"),
    _hex("0x1.2564717896ec6p-14"),
    _hex("-0x1.863563f44f303p-16"),
    _hex("0x1.03c0adafa529cp-17"),
    _hex("-0x1.5a06a5d662cb4p-19"),
    _hex("0x1.cd2011454fd05p-21"),
    _hex("-0x1.336dbe66757c8p-22"),
    _hex("0x1.99d3f5c0cad5ep-24"),
    _hex("-0x1.0fb38d217b800p-25"),
    _hex("0x1.6a3e76070c135p-27"),
    _hex("-0x1.fd8e50abf2196p-29"),
    _hex("0x1.53b23429da21bp-30"),
    _hex("-0x1.2fae5cb379bf2p-32"),
    _hex("0x1.94e73cc9821e1p-34"),
    _hex("-0x1.75c084e78a4cdp-34"),
    _hex("0x1.f255c4568ac4dp-36"),
)
# ψ(x) in t = x − 3, 2 ≤ x ≤ 4
PSI_2_HEAD = (
    (_hex("0x1.d8773039049e7p-1"), _hex("0x1.6cb90701fbfabp-58")),
    (_hex("0x1.94699894c1f4dp-2"), _hex("0x1.d6ea4c0ede59dp-57")),
)
PSI_2 = (
    _hex("-0x1.3ba004f006214p-4"),
    _hex("0x1.44c8ab1f60e4ep-6"),
    _hex("-0x1.7418eca7cc8b9p-8"),
    _hex("0x1.c2613024f2469p-10"),
    _hex("-0x1.196d0a67dd058p-11"),
    _hex("0x1.66d5f0a2ef299p-13"),
    _hex("-0x1.cf9ec0855a49ep-15"),
    _hex("0x1.2e33ad3a6bfb0p-16"),
    _hex("-0x1.8c6f9c2abf54cp-18"),
    _hex("0x1.052ca4c249a95p-19"),
    _hex("-0x1.5938cf5310253p-21"),
    _hex("0x1.c985401db1d07p-23"),
    _hex("-0x1.2f936de082cb2p-24"),
    _hex("0x1.912d978b1514dp-26"),
    _hex("-0x1.0ac0dd3dcc509p-27"),
    _hex("0x1.766be0d226b7fp-29"),
    _hex("-0x1.f2897e90542f4p-31"),
    _hex("0x1.bdbb2e63a0d34p-33"),
    _hex("-0x1.28d6e077c83b6p-34"),
    _hex("0x1.118197db1fb2ep-34"),
    _hex("-0x1.6c8da3ae00585p-36"),
)
# ψ(x) in t = (x − 6)/2, 4 ≤ x ≤ 8
PSI_4_HEAD = (
    (_hex("0x1.b4c420a50ad7cp+0"), _hex("0x1.1210ab94dee3cp-57")),
    (_hex("0x1.735973273d5ecp-2"), _hex("0x1.762ee3452809dp-57")),
)
PSI_4 = (
    _hex("-0x1.0c9d0d746542ap-4"),
    _hex("0x1.0262026c6c6e4p-6"),
    _hex("-0x1.16e2c95f5dee7p-8"),
    _hex("0x1.40454efd66fa0p-10"),
    _hex("-0x1.7e2cdc6ebc6eap-12"),
    _hex("0x1.d3f25948db2b7p-14"),
    _hex("-0x1.23c4cd2557891p-15"),
    _hex("0x1.70c7224e90b67p-17"),
    _hex("-0x1.d6e6427c701afp-19"),
    _hex("0x1.2f0b88086bc22p-20"),
    _hex("-0x1.8893ec49dacc1p-22"),
    _hex("0x1.feff61dcee2c9p-24"),
    _hex("-0x1.4c9e74760ed81p-25"),
    _hex("0x1.b41c12f277492p-27"),
    _hex("-0x1.2b18325f84637p-28"),
    _hex("0x1.8a3b0f9ac1719p-30"),
    _hex("-0x1.747fcbaeff3c6p-32"),
    _hex("0x1.ebb72dbe8f8ccp-34"),
    _hex("-0x1.9be503735b180p-34"),
    _hex("0x1.1136c076a6229p-35"),
)
# x²·(ψ(x) − log x + 1/(2x)) in x⁻², x ≥ 8
PSI_REST = (
    _hex("-0x1.5555555555555p-4"),
    _hex("0x1.1111111110d4fp-7"),
    _hex("-0x1.0410410195bbfp-8"),
    _hex("0x1.11110c0ff8839p-8"),
    _hex("-0x1.f077209c326c0p-8"),
    _hex("0x1.58e68c895ad5bp-6"),
    _hex("-0x1.47c69710dec6fp-4"),
    _hex("0x1.329c9079bcef2p-2"),
)
# (sin(πx)/x − π)/x² in x², |x| ≤ ½
SIN_PI = (
    _hex("-0x1.4abbce625be53p+2"),
    _hex("0x1.466bc6775aad6p+1"),
    _hex("-0x1.32d2cce62adb9p-1"),
    _hex("0x1.50783486f190cp-4"),
    _hex("-0x1.e3074ee5f4a61p-8"),
    _hex("0x1.e8f3b0121aafdp-12"),
    _hex("-0x1.6f866b70b27bdp-16"),
    _hex("0x1.9ec5cdbeecd34p-21"),
)
# (cos(πx) − 1)/x² in x², |x| ≤ ½
COS_PI = (
    _hex("-0x1.3bd3cc9be45dep+2"),
    _hex("0x1.03c1f081b5ac4p+2"),
    _hex("-0x1.55d3c7e3cbfdap+0"),
    _hex("0x1.e1f50689191cbp-3"),
    _hex("-0x1.a6d1f2a05f609p-6"),
    _hex("0x1.f9d38906e2150p-10"),
    _hex("-0x1.b6e1cdea474b9p-14"),
    _hex("0x1.20a61e049e33fp-18"),
    _hex("-0x1.2175e33b10f9dp-23"),
)
# the cube root, where iterations begin, √½ ≤ x ≤ √2
CBRT = (
    _hex("0x1.d094cbecf3602p-2"),
    _hex("0x1.cb1f26e2cb972p-1"),
    _hex("-0x1.0c27af808460fp-1"),
    _hex("0x1.acb454a8e2800p-3"),
    _hex("-0x1.26e0b1fdc3511p-5"),
)
# the zero x₀ of ψ, less 1
PSI_ZERO = (_hex("0x1.d8b618d5af8fep-2"), _hex("-0x1.1e563779a1f5bp-56"))
# 2/√π
TWO_OVER_ROOT_PI = (_hex("0x1.20dd750429b6dp+0"), _hex("0x1.1ae3a914fed80p-56"))
# ∛2
CBRT_2 = (_hex("0x1.428a2f98d728bp+0"), _hex("-0x1.ddc22548ea41ep-56"))
# ∛4
CBRT_4 = (_hex("0x1.965fea53d6e3dp+0"), _hex("-0x1.f53e999952f09p-54"))
# √½
ROOT_HALF = (_hex("0x1.6a09e667f3bcdp-1"), _hex("-0x1.bdd3413b26456p-55"))
# π/2
HALF_PI = (_hex("0x1.921fb54442d18p+0"), _hex("0x1.1a62633145c07p-54"))
# π
PI = (_hex("0x1.921fb54442d18p+1"), _hex("0x1.1a62633145c07p-53"))
# log 2 less its first 32 bits
LN2_REST = (_hex("0x1.cf79abc9e3b3ap-40"), _hex("-0x1.ff0342542fc33p-94"))
# log π
LOG_PI = (_hex("0x1.250d048e7a1bdp+0"), _hex("0x1.7abf2ad8d5088p-57"))
# ½·log 2π
HALF_LOG_TWO_PI = (_hex("0x1.d67f1c864beb5p-1"), _hex("-0x1.65b5a1b7ff5dfp-55"))
# π/2 in parts, of which all but the last have 32 bits
HALF_PI_PARTS = (
    _hex("0x1.921fb54400000p+0"),
    _hex("0x1.0b4611a600000p-34"),
    _hex("0x1.3198a2e000000p-69"),
    _hex("0x1.b839a252049c1p-104"),
)
