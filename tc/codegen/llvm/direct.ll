; The functions of direct.py, with three shorthands: "%x = word NAME" and "%x = wordp NAME" load a
; word of the template %t, "%x = at TYPE %base, BYTES" loads from so many bytes behind an address,
; and a name in angle brackets is a number. A call that goes well runs through them in this order.

declare i32 @clock_gettime(i32, ptr)

define internal i64 @now() {
  %t = alloca [2 x i64], align 8
  %ok = call i32 @clock_gettime(i32 1, ptr %t)
  %s = load i64, ptr %t, align 8
  %f = at i64 %t, 8
  %whole = mul i64 %s, 1000000000
  %ns = add i64 %whole, %f
  ret i64 %ns
}

; The address of a tensor's first element.
define internal i64 @data(ptr %tensor, i64 %bytes) {
  %i = at ptr %tensor, <handle>
  %s = at ptr %i, <storage>
  %d = at i64 %s, <data>
  %o = at i64 %i, <offset>
  %b = mul i64 %o, %bytes
  %a = add i64 %d, %b
  ret i64 %a
}

; The arguments of a call, first those without names, and the names of the others; held from now on.
; How many have names, or -1 where there is no room.
define internal i64 @gather(ptr %args, i64 %positional, ptr %named, ptr %values, ptr %names) {
  %place = alloca i64, align 8
  %key = alloca ptr, align 8
  %value = alloca ptr, align 8
  store i64 0, ptr %place, align 8
  %fits = icmp sle i64 %positional, <most>
  br i1 %fits, label %head, label %none
head:
  %i = phi i64 [ 0, %0 ], [ %next, %body ]
  %end = icmp eq i64 %i, %positional
  br i1 %end, label %more, label %body
body:
  %item = call ptr @PyTuple_GetItem(ptr %args, i64 %i)
  %at = shl i64 %i, 3
  %to = getelementptr i8, ptr %values, i64 %at
  store ptr %item, ptr %to, align 8
  call void @Py_IncRef(ptr %item)
  %next = add i64 %i, 1
  br label %head
more:
  %bare = icmp eq ptr %named, null
  br i1 %bare, label %done, label %look
look:
  %j = phi i64 [ 0, %more ], [ %after, %hold ]
  %left = call i32 @PyDict_Next(ptr %named, ptr %place, ptr %key, ptr %value)
  %last = icmp eq i32 %left, 0
  br i1 %last, label %done, label %room
room:
  %n = add i64 %positional, %j
  %free = icmp slt i64 %n, <most>
  br i1 %free, label %hold, label %full
hold:
  %name = load ptr, ptr %key, align 8
  %which = shl i64 %j, 3
  %beside = getelementptr i8, ptr %names, i64 %which
  store ptr %name, ptr %beside, align 8
  %object = load ptr, ptr %value, align 8
  %behind = shl i64 %n, 3
  %here = getelementptr i8, ptr %values, i64 %behind
  store ptr %object, ptr %here, align 8
  call void @Py_IncRef(ptr %object)
  %after = add i64 %j, 1
  br label %look
done:
  %found = phi i64 [ 0, %more ], [ %j, %look ]
  ret i64 %found
full:
  call void @drop(ptr %values, i64 %n)
  br label %none
none:
  ret i64 -1
}

; Whether the names are the template's.
define internal i1 @named(ptr %t, ptr %names) {
  %n = word NAMED
  %wanted = wordp NAMES
  br label %head
head:
  %i = phi i64 [ 0, %0 ], [ %next, %same ]
  %end = icmp eq i64 %i, %n
  br i1 %end, label %yes, label %body
body:
  %at = shl i64 %i, 3
  %given = at ptr %names, %at
  %name = at ptr %wanted, %at
  %equal = icmp eq ptr %given, %name
  br i1 %equal, label %same, label %no
same:
  %next = add i64 %i, 1
  br label %head
yes:
  ret i1 true
no:
  ret i1 false
}

; Whether the modes and words of the arguments, each of the one class, say that they are like those
; of the template, which is made without autocast (device 0 is the cpu). Where they do not, the
; template's function may still accept them.
define internal i1 @plain(ptr %state, ptr %t, ptr %args, i64 %count) {
  %tensors = at i64 %state, <tensor>
  %asked = at ptr %state, <inference>
  %rows = wordp LIKE
  %mode = word INFERENCE
  %told = call i8 %asked()
  %bit = and i8 %told, 1
  %now = zext i8 %bit to i64
  %unchanged = icmp eq i64 %now, %mode
  br i1 %unchanged, label %ask, label %no
ask:
  %autocast = at ptr %state, <autocast>
  %casts = call i8 %autocast(i8 signext 0)
  %on = and i8 %casts, 1
  %plain = icmp eq i8 %on, 0
  br i1 %plain, label %start, label %no
start:
  br label %head
head:
  %i = phi i64 [ 0, %start ], [ %next, %good ]
  %row = phi ptr [ %rows, %start ], [ %behind, %good ]
  %end = icmp eq i64 %i, %count
  br i1 %end, label %yes, label %body
body:
  %at = shl i64 %i, 3
  %tensor = at ptr %args, %at
  %class = at i64 %tensor, 8
  %ours = icmp eq i64 %class, %tensors
  br i1 %ours, label %open, label %no
open:
  %place = at ptr %tensor, <handle>
  %n = load i64, ptr %row, align 8
  br label %look
look:
  %j = phi i64 [ 0, %open ], [ %after, %same ]
  %triple = phi ptr [ %row, %open ], [ %wanted.p, %same ]
  %last = icmp eq i64 %j, %n
  br i1 %last, label %good, label %word
word:
  %offset = at i64 %triple, 8
  %mask = at i64 %triple, 16
  %wanted = at i64 %triple, 24
  %whole = at i64 %place, %offset
  %found = and i64 %whole, %mask
  %equal = icmp eq i64 %found, %wanted
  br i1 %equal, label %same, label %no
same:
  %after = add i64 %j, 1
  br label %look
good:
  %behind = getelementptr i8, ptr %triple, i64 8
  %next = add i64 %i, 1
  br label %head
yes:
  ret i1 true
no:
  ret i1 false
}

; Whether the arguments are like those of the template.
define internal i1 @alike(ptr %state, ptr %t, ptr %args, i64 %count) {
  %yes = at ptr %state, <true>
  %accepts = wordp ACCEPTS
  %told = call ptr @PyObject_Vectorcall(ptr %accepts, ptr %args, i64 %count, ptr null)
  %failed = icmp eq ptr %told, null
  br i1 %failed, label %clear, label %read
clear:
  call void @PyErr_Clear()
  ret i1 false
read:
  %true = icmp eq ptr %told, %yes
  call void @Py_DecRef(ptr %told)
  ret i1 %true
}

; Whether all words hold what they held. Its loads do not wait for each other.
define internal i1 @same(ptr %pairs, i64 %n) {
  br label %head
head:
  %i = phi i64 [ 0, %0 ], [ %next, %good ]
  %end = icmp eq i64 %i, %n
  br i1 %end, label %yes, label %body
body:
  %at = shl i64 %i, 4
  %place = at ptr %pairs, %at
  %beside = add i64 %at, 8
  %old = at i64 %pairs, %beside
  %new = load i64, ptr %place, align 4
  %equal = icmp eq i64 %old, %new
  br i1 %equal, label %good, label %no
good:
  %next = add i64 %i, 1
  br label %head
yes:
  ret i1 true
no:
  ret i1 false
}

define internal void @drop(ptr %outs, i64 %n) {
  br label %head
head:
  %i = phi i64 [ 0, %0 ], [ %next, %body ]
  %end = icmp eq i64 %i, %n
  br i1 %end, label %done, label %body
body:
  %at = shl i64 %i, 3
  %o = at ptr %outs, %at
  call void @Py_DecRef(ptr %o)
  %next = add i64 %i, 1
  br label %head
done:
  ret void
}

; Lets the spare result go, or the outputs that were allocated where there was none.
define internal void @release(ptr %spare, ptr %outs, i64 %n) {
  %new = icmp eq ptr %spare, null
  br i1 %new, label %each, label %whole
each:
  call void @drop(ptr %outs, i64 %n)
  ret void
whole:
  call void @Py_DecRef(ptr %spare)
  ret void
}

; A result that nobody else has, owned by the caller from now on, and its outputs; null: there is
; none.
define internal ptr @spare(ptr %t, ptr %outs) {
  %n = word OUTPUT_COUNT
  %rows = wordp SPARES
  %m = word SPARE_COUNT
  %words = add i64 %n, 3
  %stride = shl i64 %words, 3
  br label %head
head:
  %i = phi i64 [ 0, %0 ], [ %next, %busy ]
  %end = icmp eq i64 %i, %m
  br i1 %end, label %none, label %look
look:
  %at = mul i64 %i, %stride
  %row = getelementptr i8, ptr %rows, i64 %at
  %pairs = at ptr %row, 8
  %count = at i64 %row, 16
  %free = call i1 @same(ptr %pairs, i64 %count)
  br i1 %free, label %found, label %busy
busy:
  %next = add i64 %i, 1
  br label %head
found:
  %result = load ptr, ptr %row, align 8
  call void @Py_IncRef(ptr %result)
  br label %copy
copy:
  %j = phi i64 [ 0, %found ], [ %after, %more ]
  %last = icmp eq i64 %j, %n
  br i1 %last, label %done, label %more
more:
  %place = shl i64 %j, 3
  %behind = add i64 %place, 24
  %object = at ptr %row, %behind
  %out = getelementptr i8, ptr %outs, i64 %place
  store ptr %object, ptr %out, align 8
  %after = add i64 %j, 1
  br label %copy
done:
  ret ptr %result
none:
  ret ptr null
}

; Allocates the results; false with a Python error.
define internal i1 @allocate(ptr %t, ptr %outs) {
  %n = word OUTPUT_COUNT
  %specs = wordp OUTPUTS
  br label %head
head:
  %i = phi i64 [ 0, %0 ], [ %next, %good ]
  %end = icmp eq i64 %i, %n
  br i1 %end, label %yes, label %body
body:
  %at = mul i64 %i, 24
  %make = at ptr %specs, %at
  %beside = add i64 %at, 8
  %how = at ptr %specs, %beside
  %made = call ptr @PyObject_Call(ptr %make, ptr %how, ptr null)
  %failed = icmp eq ptr %made, null
  br i1 %failed, label %no, label %good
good:
  %place = shl i64 %i, 3
  %out = getelementptr i8, ptr %outs, i64 %place
  store ptr %made, ptr %out, align 8
  %next = add i64 %i, 1
  br label %head
yes:
  ret i1 true
no:
  call void @drop(ptr %outs, i64 %i)
  ret i1 false
}

; Takes the arena from the pool: 1, or 0 where it is not there, or -1 with a Python error.
define internal i64 @take(ptr %t) {
  %pool = wordp POOL
  %arena = wordp ARENA
  %n = call i64 @PyList_Size(ptr %pool)
  %none = icmp slt i64 %n, 1
  br i1 %none, label %no, label %look
look:
  %at = sub i64 %n, 1
  %last = call ptr @PyList_GetItem(ptr %pool, i64 %at)
  %ours = icmp eq ptr %last, %arena
  br i1 %ours, label %remove, label %no
remove:
  %bad = call i32 @PyList_SetSlice(ptr %pool, i64 %at, i64 %n, ptr null)
  %failed = icmp ne i32 %bad, 0
  br i1 %failed, label %error, label %yes
yes:
  ret i64 1
no:
  ret i64 0
error:
  ret i64 -1
}

; Writes the addresses of inputs and results to the table.
define internal void @fill(ptr %t, ptr %args, ptr %outs) {
  %inputs = wordp INPUTS
  %n = word INPUT_COUNT
  %slots = wordp SLOTS
  %m = word SLOT_COUNT
  br label %head
head:
  %i = phi i64 [ 0, %0 ], [ %next, %body ]
  %end = icmp eq i64 %i, %n
  br i1 %end, label %results, label %body
body:
  %at = mul i64 %i, 24
  %slot = at ptr %inputs, %at
  %beside = add i64 %at, 8
  %number = at i64 %inputs, %beside
  %behind = add i64 %at, 16
  %bytes = at i64 %inputs, %behind
  %which = shl i64 %number, 3
  %tensor = at ptr %args, %which
  %address = call i64 @data(ptr %tensor, i64 %bytes)
  store i64 %address, ptr %slot, align 8
  %next = add i64 %i, 1
  br label %head
results:
  %j = phi i64 [ 0, %head ], [ %after, %more ]
  %last = icmp eq i64 %j, %m
  br i1 %last, label %done, label %more
more:
  %place = shl i64 %j, 4
  %to = at ptr %slots, %place
  %second = add i64 %place, 8
  %from = at i64 %slots, %second
  %choice = shl i64 %from, 3
  %out = at ptr %outs, %choice
  %memory = call i64 @data(ptr %out, i64 0)
  store i64 %memory, ptr %to, align 8
  %after = add i64 %j, 1
  br label %results
done:
  ret void
}

; Runs the program, others being let in meanwhile; whether it has reported no error.
define internal i1 @run(ptr %t) {
  %counters = wordp COUNTERS
  %inside = wordp INSIDE
  %last = wordp LAST
  %number = word NUMBER
  %table = wordp TABLE
  %function = wordp FUNCTION
  %error = wordp ERROR
  %weights = wordp WEIGHTS
  %pool = wordp POOL
  %arena = wordp ARENA
  %gate = wordp GATE
  %hints = wordp HINTS
  %hinted = getelementptr i8, ptr %table, i64 <hints>
  store ptr %hints, ptr %hinted, align 8
  call void @Py_IncRef(ptr %weights)
  %before = load i64, ptr %inside, align 8
  %more = add i64 %before, 1
  store i64 %more, ptr %inside, align 8
  %calls = load i64, ptr %counters, align 8
  %counted = add i64 %calls, 1
  store i64 %counted, ptr %counters, align 8
  store i64 %number, ptr %last, align 8
  %thread = call ptr @PyEval_SaveThread()
  %begin = call i64 @now()
  call void %function(ptr %table)
  %end = call i64 @now()
  store ptr null, ptr %hinted, align 8 ; the list may go before the table does
  call void @PyEval_RestoreThread(ptr %thread)
  %spent = sub i64 %end, %begin
  %s = getelementptr i8, ptr %counters, i64 <started>
  store i64 %begin, ptr %s, align 8
  %ns = getelementptr i8, ptr %counters, i64 <nanoseconds>
  store i64 %spent, ptr %ns, align 8
  %reported = load i32, ptr %error, align 4
  %good = icmp eq i32 %reported, 0
  br i1 %good, label %back, label %reset
reset:
  store i32 0, ptr %error, align 4
  br label %back
back:
  %ok = call i32 @PyList_Append(ptr %pool, ptr %arena)
  %lost = icmp ne i32 %ok, 0
  br i1 %lost, label %clear, label %leave
clear:
  call void @PyErr_Clear()
  br label %leave
leave:
  call void @Py_DecRef(ptr %weights)
  %now = load i64, ptr %inside, align 8
  %fewer = sub i64 %now, 1
  store i64 %fewer, ptr %inside, align 8
  %waited = load i64, ptr %gate, align 8
  %nobody = icmp eq i64 %waited, 0
  br i1 %nobody, label %done, label %tell
tell:
  %notify = wordp NOTIFY
  %told = call ptr @PyObject_Vectorcall(ptr %notify, ptr null, i64 0, ptr null)
  %failed = icmp eq ptr %told, null
  br i1 %failed, label %ignore, label %heard
ignore:
  call void @PyErr_Clear()
  br label %done
heard:
  call void @Py_DecRef(ptr %told)
  br label %done
done:
  ret i1 %good
}

; A mapping of the outputs, which are also attributes of it; null with a Python error.
define internal ptr @mapping(ptr %t, ptr %outs) {
  %n = word OUTPUT_COUNT
  %specs = wordp OUTPUTS
  %make = wordp MAKE
  %attributes = wordp ATTRIBUTES
  %class = getelementptr i8, ptr %t, i64 <class>
  %made = call ptr @PyObject_Vectorcall(ptr %make, ptr %class, i64 1, ptr null)
  %none = icmp eq ptr %made, null
  br i1 %none, label %nothing, label %begin
begin:
  %dict = call ptr @PyDict_Copy(ptr %attributes)
  %empty = icmp eq ptr %dict, null
  br i1 %empty, label %bad, label %head
head:
  %i = phi i64 [ 0, %begin ], [ %next, %put ]
  %end = icmp eq i64 %i, %n
  br i1 %end, label %set, label %body
body:
  %place = shl i64 %i, 3
  %out = at ptr %outs, %place
  %spec = mul i64 %i, 24
  %behind = add i64 %spec, 16
  %name = at ptr %specs, %behind
  %one = call i32 @PyDict_SetItem(ptr %dict, ptr %name, ptr %out)
  %two = call i32 @PyODict_SetItem(ptr %made, ptr %name, ptr %out)
  %both = or i32 %one, %two
  %wrong = icmp ne i32 %both, 0
  br i1 %wrong, label %worse, label %put
put:
  %next = add i64 %i, 1
  br label %head
set:
  %held = call i32 @PyObject_GenericSetDict(ptr %made, ptr %dict, ptr null)
  %refused = icmp ne i32 %held, 0
  br i1 %refused, label %worse, label %whole
whole:
  call void @Py_DecRef(ptr %dict)
  ret ptr %made
worse:
  call void @Py_DecRef(ptr %dict)
  br label %bad
bad:
  call void @Py_DecRef(ptr %made)
  br label %nothing
nothing:
  ret ptr null
}

; The result of the call over the outputs, which it owns from now on; null with a Python error.
define internal ptr @result(ptr %t, ptr %outs) {
  %n = word OUTPUT_COUNT
  %finish = wordp FINISH
  %make = wordp MAKE
  %hard = icmp ne ptr %finish, null
  br i1 %hard, label %called, label %easy
easy:
  %alone = icmp eq ptr %make, null
  br i1 %alone, label %first, label %mapped
first:
  %it = load ptr, ptr %outs, align 8
  ret ptr %it
mapped:
  %map = call ptr @mapping(ptr %t, ptr %outs)
  call void @drop(ptr %outs, i64 %n)
  ret ptr %map
called:
  %value = call ptr @PyObject_Vectorcall(ptr %finish, ptr %outs, i64 %n, ptr null)
  call void @drop(ptr %outs, i64 %n)
  ret ptr %value
}

; The result by one template; 1 where it does not fit, null with a Python error.
define internal ptr @served(ptr %state, ptr %t, ptr %args, i64 %positional, i64 %named, ptr %names) {
  %outs = alloca [<most> x ptr], align 8
  %n = word OUTPUT_COUNT
  %p = word POSITIONAL
  %q = word NAMED
  %one = icmp eq i64 %p, %positional
  %two = icmp eq i64 %q, %named
  %both = and i1 %one, %two
  br i1 %both, label %name, label %miss
name:
  %known = call i1 @named(ptr %t, ptr %names)
  br i1 %known, label %look, label %miss
look:
  %count = add i64 %positional, %named
  %plain = call i1 @plain(ptr %state, ptr %t, ptr %args, i64 %count)
  br i1 %plain, label %ask, label %closer
closer:
  %like = call i1 @alike(ptr %state, ptr %t, ptr %args, i64 %count)
  br i1 %like, label %ask, label %miss
ask:
  %spare = call ptr @spare(ptr %t, ptr %outs)
  %new = icmp eq ptr %spare, null
  br i1 %new, label %make, label %check
make:
  %made = call i1 @allocate(ptr %t, ptr %outs)
  br i1 %made, label %check, label %error
check:
  %pairs = wordp PAIRS
  %m = word PAIR_COUNT
  %unchanged = call i1 @same(ptr %pairs, i64 %m)
  br i1 %unchanged, label %take, label %back
take:
  %taken = call i64 @take(ptr %t)
  switch i64 %taken, label %go [ i64 0, label %back
                                 i64 -1, label %fail ]
go:
  call void @fill(ptr %t, ptr %args, ptr %outs)
  %good = call i1 @run(ptr %t)
  br i1 %good, label %done, label %back
done:
  br i1 %new, label %finish, label %again
finish:
  %value = call ptr @result(ptr %t, ptr %outs)
  ret ptr %value
again:
  ret ptr %spare
back:
  call void @release(ptr %spare, ptr %outs, i64 %n)
  br label %miss
fail:
  call void @release(ptr %spare, ptr %outs, i64 %n)
  br label %error
miss:
  ret ptr inttoptr (i64 1 to ptr)
error:
  ret ptr null
}

define ptr @tc_direct(ptr %self, ptr %tuple, ptr %dict) {
  %args = alloca [<most> x ptr], align 8
  %names = alloca [<most> x ptr], align 8
  %state = at ptr %self, <buffer>
  %positional = call i64 @PyTuple_Size(ptr %tuple)
  %named = call i64 @gather(ptr %tuple, i64 %positional, ptr %dict, ptr %args, ptr %names)
  %given = add i64 %positional, %named
  %many = icmp slt i64 %named, 0
  br i1 %many, label %otherwise, label %head
head:
  %i = phi i64 [ 0, %0 ], [ %next, %more ]
  %count = load i64, ptr %state, align 8
  %left = icmp slt i64 %i, %count
  br i1 %left, label %body, label %miss
body:
  %eight = shl i64 %i, 3
  %place = add i64 %eight, <first>
  %t = at ptr %state, %place
  %owner = load ptr, ptr %t, align 8
  call void @Py_IncRef(ptr %owner)
  %r = call ptr @served(ptr %state, ptr %t, ptr %args, i64 %positional, i64 %named, ptr %names)
  call void @Py_DecRef(ptr %owner)
  %missed = icmp eq ptr %r, inttoptr (i64 1 to ptr)
  br i1 %missed, label %more, label %found
more:
  %next = add i64 %i, 1
  br label %head
miss:
  call void @drop(ptr %args, i64 %given)
  br label %otherwise
otherwise:
  %fallback = at ptr %state, <fallback>
  %other = call ptr @PyObject_Call(ptr %fallback, ptr %tuple, ptr %dict)
  ret ptr %other
found:
  ; It is the first to be looked at next time, if it is still there.
  %now = load i64, ptr %state, align 8
  %there = icmp slt i64 %i, %now
  br i1 %there, label %swap, label %done
swap:
  %front = getelementptr i8, ptr %state, i64 <first>
  %was = getelementptr i8, ptr %state, i64 %place
  %a = load i64, ptr %front, align 8
  %b = load i64, ptr %was, align 8
  store i64 %b, ptr %front, align 8
  store i64 %a, ptr %was, align 8
  br label %done
done:
  call void @drop(ptr %args, i64 %given)
  ret ptr %r
}
