-- Reads rows that may leave. ARGV: fence, how long it may be silent in milliseconds, the most rows, then the
-- partitions. Answers how long until the next may leave in
-- microseconds (-1: nothing waits for its time), and the rows.
local fence, most, time = ARGV[1], tonumber(ARGV[3]), now()
if redis.call('HEXISTS', outbox .. ':alive', fence) == 1 then sign(fence, ARGV[2]) end
for _, number in ipairs(redis.call('ZRANGEBYSCORE', outbox .. ':due', '-inf', digits(time), 'LIMIT', 0, 1000)) do
  local row = redis.call('HGET', outbox .. ':rows', number)
  -- Its place is where it becomes due, not where it was committed.
  if row then redis.call('ZADD', part(string.byte(row, 1)), digits(redis.call('INCR', outbox .. ':n')), number) end
  redis.call('ZREM', outbox .. ':due', number)
end

local soonest = nil
local function soon(at)
  if not soonest or at < soonest then soonest = at end
end
local places = {}
for i = 4, #ARGV do
  local partition = ARGV[i]
  if leased(partition) == fence then
    local till, place = nil, nil
    local again = redis.call('HGET', outbox .. ':again', partition)
    if again then till, place = string.match(again, '^(%d+):(%d+)$') end
    local highest = '+inf'
    if till and tonumber(till) > time then
      highest = '(' .. place
      soon(tonumber(till))
    end
    local found = redis.call('ZRANGEBYSCORE', part(partition), '-inf', highest, 'WITHSCORES', 'LIMIT', 0, most)
    for j = 1, #found, 2 do places[#places + 1] = { tonumber(found[j + 1]), found[j] } end
  end
end
table.sort(places, function(a, b) return a[1] < b[1] end)

local rows = {}
for i = 1, math.min(most, #places) do
  local number = places[i][2]
  local row = redis.call('HGET', outbox .. ':rows', number)
  if row then
    local kept = cmsgpack.unpack(string.sub(row, 2))
    local tries = redis.call('HGET', outbox .. ':tries', number) or '0'
    rows[#rows + 1] = { number, string.byte(row, 1), kept[1], kept[2], kept[3], kept[4], tries }
  end
end
local first = redis.call('ZRANGE', outbox .. ':due', 0, 0, 'WITHSCORES')
if first[2] then soon(tonumber(first[2])) end
local pause = '-1'
if soonest then pause = digits(math.max(0, soonest - now())) end
return { pause, rows }
