"""The state of a key's limit, as headers."""

from weir_gateway.core.call import RateLimit


def rate_limit_headers(limit: RateLimit) -> dict[str, str]:
    """OpenAI's headers of the requests-per-minute limit; none if there is no limit."""
    if not limit.limit:
        return {}
    return {
        "x-ratelimit-limit-requests": str(limit.limit),
        "x-ratelimit-remaining-requests": str(limit.remaining),
        "x-ratelimit-reset-requests": f"{limit.reset_s:.3f}s",
    }
