-- What scripts share that touch the outbox. `ob:rows` has the rows by number, `ob:p:` and a partition the numbers of its rows
-- in their order, `ob:due` those that are due later, `ob:again` until when a partition's failed row holds its successors,
-- `ob:lease` who has a partition, `ob:alive` until when the holder of a fence counts as alive.
local outbox = base .. ':ob'

local function part(partition)
  return outbox .. ':p:' .. partition
end

-- The fence of a partition's lease, and whose it is.
local function leased(partition)
  local kept = redis.call('HGET', outbox .. ':lease', partition)
  if not kept then return nil, nil, 0 end
  local fence, till, owner = string.match(kept, '^(%d+):(%d+):(.*)$')
  return fence, owner, tonumber(till)
end

-- Until when the holder of a fence counts as alive.
local function heard(fence)
  return tonumber(redis.call('HGET', outbox .. ':alive', fence) or '0')
end

-- A sign of life of a fence's holder.
local function sign(fence, silence)
  redis.call('HSET', outbox .. ':alive', fence, digits(now() + tonumber(silence) * 1000))
end

-- A row's value is its partition in one byte and what a relay reads.
local function put_row(partition, id, subject, frame, key, due)
  local number = digits(redis.call('INCR', outbox .. ':n'))
  local row = string.char(partition) .. cmsgpack.pack({ id, subject, frame, key })
  redis.call('HSET', outbox .. ':rows', number, row)
  if tonumber(due) > now() then
    redis.call('ZADD', outbox .. ':due', due, number)
  else
    redis.call('ZADD', part(partition), number, number)
  end
end
