"""Currencies: the codes of ISO 4217 that are legal tender somewhere."""

from weir_kit.errors import InvalidArgument

DEFAULT = "USD"

# ISO 4217 list one, without funds codes, metals and testing codes: nobody pays a bill in those.
CODES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
    CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS
    GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW
    KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR
    MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR
    SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX
    USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()  # noqa: SIM905 - a list of 155 quoted codes reads worse
)


def currency_of(code: str, field: str) -> str:
    """The code itself; the default where it is empty. Raises `InvalidArgument` naming `field`."""
    if not code:
        return DEFAULT
    if code not in CODES:
        raise InvalidArgument(
            "must be a currency code of ISO 4217 in upper case, for example USD", field=field
        )
    return code
