-- Publishes a batch whole or not at all. ARGV: the bound of a stream, the window of de-duplication in milliseconds (0: none),
-- then for each message subject, frame, id, due in microseconds (0: now), consumer (empty: everybody).
-- Answers a number for each: 0 kept, 1 known, 2 no room, 3 nobody is registered, 4 kept after a stream was made again,
-- 5 no such consumer.
local bound, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local lengths, answers, time = {}, {}, now()

local function room(suffix, stream)
  local length = lengths[suffix]
  if not length then length = redis.call('XLEN', stream) end
  if length >= bound then
    trim(suffix)
    length = redis.call('XLEN', stream)
  end
  lengths[suffix] = length
  return length < bound
end

local function put(subject, frame, to)
  local suffix = 's:' .. subject
  if to ~= '' then
    suffix = 'q:' .. to
    if redis.call('EXISTS', base .. ':takes:' .. to) == 0 then return 5 end
  end
  local stream = base .. ':' .. suffix
  if not room(suffix, stream) then return 2 end
  local fields = { 'f', frame }
  if to ~= '' then fields = { 'f', frame, 'to', to } end
  if redis.call('XADD', stream, 'NOMKSTREAM', '*', unpack(fields)) then
    lengths[suffix] = lengths[suffix] + 1
    return 0
  end
  local consumers = consumers_of(suffix)
  if #consumers == 0 then return 3 end
  for _, consumer in ipairs(consumers) do
    redis.call('XGROUP', 'CREATE', stream, consumer, '0', 'MKSTREAM')
  end
  redis.call('XADD', stream, '*', unpack(fields))
  lengths[suffix] = 1
  return 4
end

for i = 3, #ARGV, 5 do
  local subject, frame, id, due, to = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]
  local answer
  local seen = base .. ':seen:' .. id
  if window > 0 and to == '' and redis.call('EXISTS', seen) == 1 then
    answer = 1
  elseif due > time then
    local kept = base .. ':due:' .. subject
    if redis.call('ZCARD', kept) >= bound then
      answer = 2
    else
      local number = string.format('%016x', redis.call('INCR', base .. ':n'))
      redis.call('ZADD', kept, digits(due), number .. string.char(#to) .. to .. frame)
      answer = 0
    end
  else
    answer = put(subject, frame, to)
  end
  if window > 0 and to == '' and (answer == 0 or answer == 4) then
    redis.call('SET', seen, '1', 'PX', window)
  end
  answers[#answers + 1] = answer
end
return answers
