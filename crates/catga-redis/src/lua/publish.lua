-- Publishes a batch whole or not at all. ARGV: the bound of a stream, the window of de-duplication in milliseconds (0: none),
-- whether the messages are plain, then for each message subject and frame, and where they are not plain id, due in
-- microseconds (0: now), consumer (empty: everybody).
-- Answers a number for each: 0 kept, 1 known, 2 no room, 3 nobody is registered, 4 kept after a stream was made again,
-- 5 no such consumer.
local bound, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local call, lengths, answers, time = redis.call, {}, {}, now()

-- Whether a stream has room, also after what is settled is gone.
local function room(suffix, stream)
  local length = lengths[suffix]
  if not length then length = call('XLEN', stream) end
  if length >= bound then
    trim(suffix)
    length = call('XLEN', stream)
  end
  lengths[suffix] = length
  return length < bound
end

-- A stream that is not there has no consumers, or was removed with what it held.
local function anew(suffix, stream, fields)
  local consumers = consumers_of(suffix)
  if #consumers == 0 then return 3 end
  for _, consumer in ipairs(consumers) do
    call('XGROUP', 'CREATE', stream, consumer, '0', 'MKSTREAM')
  end
  call('XADD', stream, '*', unpack(fields))
  lengths[suffix] = 1
  return 4
end

local function put(suffix, stream, frame)
  if not room(suffix, stream) then return 2 end
  if call('XADD', stream, 'NOMKSTREAM', '*', 'f', frame) then
    lengths[suffix] = lengths[suffix] + 1
    return 0
  end
  return anew(suffix, stream, { 'f', frame })
end

local function put_to(consumer, frame)
  if call('EXISTS', base .. ':takes:' .. consumer) == 0 then return 5 end
  local suffix = 'q:' .. consumer
  local stream, fields = base .. ':' .. suffix, { 'f', frame, 'to', consumer }
  if not room(suffix, stream) then return 2 end
  if not call('XADD', stream, 'NOMKSTREAM', '*', unpack(fields)) then return anew(suffix, stream, fields) end
  lengths[suffix] = lengths[suffix] + 1
  return 0
end

local function put_later(subject, frame, due, to)
  local kept = base .. ':due:' .. subject
  if call('ZCARD', kept) >= bound then return 2 end
  local number = string.format('%016x', call('INCR', base .. ':n'))
  call('ZADD', kept, digits(due), number .. string.char(#to) .. to .. frame)
  return 0
end

local plain = ARGV[3] == '1'
local stride, last, suffix, stream = 5, nil, nil, nil
if plain then stride = 2 end
for i = 4, #ARGV, stride do
  local subject, frame = ARGV[i], ARGV[i + 1]
  if subject ~= last then
    last, suffix = subject, 's:' .. subject
    stream = base .. ':' .. suffix
  end
  local answer
  if plain then
    answer = put(suffix, stream, frame)
  else
    local seen, due, to = base .. ':seen:' .. ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]
    local once = window > 0 and to == ''
    if once and call('EXISTS', seen) == 1 then
      answer = 1
    elseif due > time then
      answer = put_later(subject, frame, due, to)
    elseif to ~= '' then
      answer = put_to(to, frame)
    else
      answer = put(suffix, stream, frame)
    end
    if once and (answer == 0 or answer == 4) then call('SET', seen, '1', 'PX', window) end
  end
  answers[#answers + 1] = answer
end
return answers
