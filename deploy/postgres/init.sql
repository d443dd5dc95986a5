-- Run once, by the PostgreSQL image, in an empty data folder: a role and a database for each service
-- that has one. Neither may look into the other's.
\set policy_password `cat /run/secrets/policy_db_password`
\set billing_password `cat /run/secrets/billing_db_password`

CREATE ROLE weir_policy LOGIN PASSWORD :'policy_password';
CREATE ROLE weir_billing LOGIN PASSWORD :'billing_password';
CREATE DATABASE weir_policy OWNER weir_policy;
CREATE DATABASE weir_billing OWNER weir_billing;
REVOKE CONNECT ON DATABASE weir_policy FROM PUBLIC;
REVOKE CONNECT ON DATABASE weir_billing FROM PUBLIC;
