-- Says that a relay lives. ARGV: fence, how long it may be silent in milliseconds. Answers the number of the newest row.
if redis.call('HEXISTS', outbox .. ':alive', ARGV[1]) == 1 then sign(ARGV[1], ARGV[2]) end
return redis.call('GET', outbox .. ':n') or '0'
