/* SPDX-License-Identifier: MIT
 *
 * Checks of the threads of C++20, which know nothing of green threads: prints one line
 * for each, as conform does; --list and --after NAME as there.
 */
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <numeric>
#include <semaphore>
#include <shared_mutex>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace
{

struct failure : std::runtime_error {
	using std::runtime_error::runtime_error;
};

#define EXPECT(condition)                                                            \
	do {                                                                         \
		if (!(condition))                                                    \
			throw failure(std::to_string(__LINE__) + ": " + #condition); \
	} while (0)

struct check {
	const char *name;
	void (*run)();
};

std::vector<check> &checks()
{
	static std::vector<check> all;
	return all;
}

struct registers {
	registers(const char *name, void (*run)())
	{
		checks().push_back({ name, run });
	}
};

#define CHECK(name)                              \
	void name();                             \
	registers registers_##name(#name, name); \
	void name()

/* ---- threads ---------------------------------------------------------------- */

CHECK(cxx_thread)
{
	int value = 0;
	std::thread t([&] { value = 5; });
	EXPECT(t.joinable() && t.get_id() != std::this_thread::get_id());
	t.join();
	EXPECT(value == 5 && !t.joinable());
}

CHECK(cxx_many_threads)
{
	std::atomic<int> count{ 0 };
	std::vector<std::thread> all;
	for (int i = 0; i < 500; i++)
		all.emplace_back([&count, i] {
			std::this_thread::sleep_for(std::chrono::microseconds(i));
			count++;
		});
	for (auto &t : all)
		t.join();
	EXPECT(count == 500);
}

CHECK(cxx_thread_detached)
{
	auto done = std::make_shared<std::promise<int>>();
	auto result = done->get_future();
	std::thread([done] { done->set_value(7); }).detach();
	EXPECT(result.get() == 7);
}

CHECK(cxx_sleep)
{
	auto before = std::chrono::steady_clock::now();
	std::this_thread::sleep_for(30ms);
	std::this_thread::sleep_until(std::chrono::steady_clock::now() + 20ms);
	std::this_thread::yield();
	EXPECT(std::chrono::steady_clock::now() - before >= 50ms);
}

CHECK(cxx_jthread_joins)
{
	std::atomic<bool> done{ false };
	{
		std::jthread t([&] {
			std::this_thread::sleep_for(20ms);
			done = true;
		});
	}
	EXPECT(done);
}

CHECK(cxx_jthread_is_stopped)
{
	std::atomic<int> rounds{ 0 };
	{
		std::jthread t([&](std::stop_token stop) {
			while (!stop.stop_requested()) {
				rounds++;
				std::this_thread::sleep_for(1ms);
			}
		});
		while (rounds < 3)
			std::this_thread::yield();
	}
	EXPECT(rounds >= 3);
}

CHECK(cxx_stop_callback)
{
	std::stop_source source;
	std::atomic<int> called{ 0 };
	std::stop_callback callback(source.get_token(), [&] { called++; });
	std::jthread t([&] { source.request_stop(); });
	t.join();
	EXPECT(called == 1 && source.stop_requested());
}

CHECK(cxx_wait_ended_by_stop)
{
	std::mutex mutex;
	std::condition_variable_any condition;
	bool result = true;
	{
		std::jthread t([&](std::stop_token stop) {
			std::unique_lock lock(mutex);
			result = condition.wait(lock, stop, [] { return false; });
		});
		std::this_thread::sleep_for(20ms);
	}
	EXPECT(!result);
}

/* ---- waiting for one another ------------------------------------------------ */

CHECK(cxx_latch)
{
	std::latch latch(8);
	std::atomic<int> before{ 0 };
	std::vector<std::jthread> all;
	for (int i = 0; i < 8; i++)
		all.emplace_back([&] {
			before++;
			latch.count_down();
		});
	latch.wait();
	EXPECT(before == 8 && latch.try_wait());
}

CHECK(cxx_latch_arrive_and_wait)
{
	std::latch latch(5);
	std::atomic<int> came{ 0 }, bad{ 0 };
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 5; i++)
			all.emplace_back([&] {
				came++;
				latch.arrive_and_wait();
				if (came != 5)
					bad++;
			});
	}
	EXPECT(bad == 0);
}

CHECK(cxx_barrier)
{
	constexpr int count = 6, rounds = 50;
	int completed = 0;
	std::atomic<int> came{ 0 }, bad{ 0 };
	std::barrier barrier(count, [&]() noexcept { completed++; });
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < count; i++)
			all.emplace_back([&] {
				for (int r = 1; r <= rounds; r++) {
					came++;
					barrier.arrive_and_wait();
					if (came < r * count)
						bad++;
					barrier.arrive_and_wait();
				}
			});
	}
	EXPECT(completed == 2 * rounds && bad == 0);
}

CHECK(cxx_semaphore)
{
	std::counting_semaphore<4> places(4);
	std::atomic<int> inside{ 0 }, most{ 0 };
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 20; i++)
			all.emplace_back([&] {
				places.acquire();
				int now = ++inside, seen = most;
				while (now > seen && !most.compare_exchange_weak(seen, now))
					;
				std::this_thread::sleep_for(2ms);
				inside--;
				places.release();
			});
	}
	EXPECT(most <= 4 && most >= 2);
}

CHECK(cxx_semaphore_times_out)
{
	std::binary_semaphore semaphore(0);
	auto before = std::chrono::steady_clock::now();
	EXPECT(!semaphore.try_acquire());
	EXPECT(!semaphore.try_acquire_for(30ms));
	EXPECT(std::chrono::steady_clock::now() - before >= 29ms);
	std::jthread t([&] { semaphore.release(); });
	semaphore.acquire();
}

CHECK(cxx_atomic_wait)
{
	std::atomic<int> value{ 0 };
	std::jthread t([&] {
		std::this_thread::sleep_for(20ms);
		value = 1;
		value.notify_all();
	});
	value.wait(0);
	EXPECT(value == 1);
}

CHECK(cxx_atomic_ping_pong)
{
	std::atomic<int> value{ 0 };
	std::jthread t([&] {
		for (int i = 0; i < 2000; i += 2) {
			value.wait(i);
			value.store(i + 2);
			value.notify_one();
		}
	});
	for (int i = 0; i < 2000; i += 2) {
		value.store(i + 1);
		value.notify_one();
		while (value.load() == i + 1)
			value.wait(i + 1);
	}
	EXPECT(value == 2000);
}

/* ---- locks ------------------------------------------------------------------ */

CHECK(cxx_mutex)
{
	std::mutex mutex;
	long count = 0;
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 8; i++)
			all.emplace_back([&] {
				for (int j = 0; j < 5000; j++) {
					std::lock_guard lock(mutex);
					count++;
				}
			});
	}
	EXPECT(count == 40000);
}

CHECK(cxx_timed_mutex)
{
	std::timed_mutex mutex;
	std::latch locked(1);
	std::jthread t([&] {
		std::lock_guard lock(mutex);
		locked.count_down();
		std::this_thread::sleep_for(80ms);
	});
	locked.wait();
	EXPECT(!mutex.try_lock() && !mutex.try_lock_for(10ms));
	EXPECT(mutex.try_lock_for(5s));
	mutex.unlock();
}

CHECK(cxx_recursive_mutex)
{
	std::recursive_mutex mutex;
	std::function<int(int)> depth = [&](int n) {
		std::lock_guard lock(mutex);
		return n ? depth(n - 1) + 1 : 0;
	};
	EXPECT(depth(10) == 10);
}

CHECK(cxx_shared_mutex)
{
	std::shared_mutex mutex;
	long a = 0, b = 0;
	std::atomic<int> bad{ 0 };
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 6; i++)
			all.emplace_back([&, i] {
				for (int j = 0; j < 1000; j++) {
					if (i % 3 == 0) {
						std::unique_lock lock(mutex);
						a++;
						b++;
					} else {
						std::shared_lock lock(mutex);
						if (a != b)
							bad++;
					}
				}
			});
	}
	EXPECT(bad == 0 && a == 2000 && b == 2000);
}

CHECK(cxx_lock_of_several)
{
	std::mutex a, b;
	int count = 0;
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 4; i++)
			all.emplace_back([&, i] {
				for (int j = 0; j < 500; j++) {
					if (i % 2) {
						std::scoped_lock lock(a, b);
						count++;
					} else {
						std::scoped_lock lock(b, a);
						count++;
					}
				}
			});
	}
	EXPECT(count == 2000);
}

CHECK(cxx_condition)
{
	std::mutex mutex;
	std::condition_variable condition;
	std::vector<int> queue;
	long sum = 0;
	std::jthread t([&] {
		for (int i = 1; i <= 1000; i++) {
			std::lock_guard lock(mutex);
			queue.push_back(i);
			condition.notify_one();
		}
	});
	for (int taken = 0; taken < 1000;) {
		std::unique_lock lock(mutex);
		condition.wait(lock, [&] { return !queue.empty(); });
		taken += static_cast<int>(queue.size());
		sum += std::accumulate(queue.begin(), queue.end(), 0L);
		queue.clear();
	}
	EXPECT(sum == 500500);
}

CHECK(cxx_condition_times_out)
{
	std::mutex mutex;
	std::condition_variable condition;
	std::unique_lock lock(mutex);
	auto before = std::chrono::steady_clock::now();
	EXPECT(!condition.wait_for(lock, 30ms, [] { return false; }));
	EXPECT(condition.wait_until(lock, std::chrono::system_clock::now() + 10ms) ==
	       std::cv_status::timeout);
	EXPECT(std::chrono::steady_clock::now() - before >= 39ms);
	EXPECT(lock.owns_lock());
}

CHECK(cxx_notify_at_thread_exit)
{
	std::mutex mutex;
	std::condition_variable condition;
	bool ready = false;
	std::jthread t([&] {
		std::unique_lock lock(mutex);
		ready = true;
		std::notify_all_at_thread_exit(condition, std::move(lock));
	});
	std::unique_lock lock(mutex);
	condition.wait(lock, [&] { return ready; });
	EXPECT(ready);
}

std::atomic<int> once_calls{ 0 };

CHECK(cxx_call_once)
{
	std::once_flag once;
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 10; i++)
			all.emplace_back([&] {
				std::call_once(once, [] {
					std::this_thread::sleep_for(10ms);
					once_calls++;
				});
				if (once_calls != 1)
					std::terminate();
			});
	}
	EXPECT(once_calls == 1);
}

int slow_value()
{
	std::this_thread::sleep_for(20ms);
	return ++once_calls;
}

CHECK(cxx_static_initialised_once)
{
	once_calls = 0;
	std::atomic<int> bad{ 0 };
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 8; i++)
			all.emplace_back([&] {
				static int value = slow_value();
				if (value != 1)
					bad++;
			});
	}
	EXPECT(bad == 0 && once_calls == 1);
}

/* ---- futures ---------------------------------------------------------------- */

int fibonacci(int n)
{
	if (n < 2)
		return n;
	auto left = std::async(std::launch::async, fibonacci, n - 1);
	return fibonacci(n - 2) + left.get();
}

CHECK(cxx_async)
{
	EXPECT(fibonacci(12) == 144);
	EXPECT(std::async(std::launch::deferred, [] { return 3; }).get() == 3);
}

CHECK(cxx_async_throws)
{
	auto result = std::async(std::launch::async, []() -> int {
		std::this_thread::sleep_for(10ms);
		throw std::out_of_range("far");
	});
	std::string what;
	try {
		result.get();
	} catch (const std::out_of_range &e) {
		what = e.what();
	}
	EXPECT(what == "far");
}

CHECK(cxx_future_waits)
{
	std::promise<std::string> promise;
	auto result = promise.get_future();
	EXPECT(result.wait_for(10ms) == std::future_status::timeout);
	std::jthread t([&] { promise.set_value("text"); });
	EXPECT(result.wait_for(5s) == std::future_status::ready && result.get() == "text");
}

CHECK(cxx_shared_future)
{
	std::promise<int> promise;
	std::shared_future<int> shared = promise.get_future().share();
	std::atomic<int> sum{ 0 };
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 5; i++)
			all.emplace_back([&sum, shared] { sum += shared.get(); });
		promise.set_value(4);
	}
	EXPECT(sum == 20);
}

CHECK(cxx_packaged_task)
{
	std::packaged_task<int(int)> task([](int n) { return n * 2; });
	auto result = task.get_future();
	std::jthread t(std::move(task), 21);
	EXPECT(result.get() == 42);
}

CHECK(cxx_broken_promise)
{
	std::future<int> result;
	std::jthread([&] { result = std::promise<int>().get_future(); }).join();
	bool broken = false;
	try {
		result.get();
	} catch (const std::future_error &e) {
		broken = e.code() == std::future_errc::broken_promise;
	}
	EXPECT(broken);
}

/* ---- exceptions and thread_local -------------------------------------------- */

struct unwound {
	std::atomic<int> &count;
	~unwound()
	{
		count++;
	}
};

void throws_deep(int depth, std::atomic<int> &count)
{
	unwound here{ count };
	if (depth == 0) {
		std::this_thread::sleep_for(1ms);
		throw std::runtime_error("deep");
	}
	throws_deep(depth - 1, count);
}

/* What a catch block has in hand is the thread's, whatever others throw meanwhile. */
CHECK(cxx_exceptions_across_waits)
{
	std::atomic<int> count{ 0 }, bad{ 0 };
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 20; i++)
			all.emplace_back([&] {
				for (int j = 0; j < 10; j++) {
					try {
						throws_deep(10, count);
						bad++;
					} catch (const std::runtime_error &e) {
						std::this_thread::sleep_for(1ms);
						if (std::strcmp(e.what(), "deep") != 0 ||
						    !std::current_exception())
							bad++;
					}
					if (std::current_exception() || std::uncaught_exceptions())
						bad++;
				}
			});
	}
	EXPECT(bad == 0 && count == 20 * 10 * 11);
}

CHECK(cxx_exceptions_nested)
{
	std::atomic<int> bad{ 0 };
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 8; i++)
			all.emplace_back([&, i] {
				try {
					try {
						throw i;
					} catch (int) {
						std::this_thread::sleep_for(1ms);
						try {
							throw std::string("inner");
						} catch (const std::string &) {
							std::this_thread::yield();
						}
						throw;
					}
				} catch (int n) {
					if (n != i)
						bad++;
				}
			});
	}
	EXPECT(bad == 0);
}

CHECK(cxx_exception_to_another_thread)
{
	std::exception_ptr kept;
	std::jthread([&] {
		try {
			throw std::logic_error("carried");
		} catch (...) {
			kept = std::current_exception();
		}
	}).join();
	std::string what;
	try {
		std::rethrow_exception(kept);
	} catch (const std::logic_error &e) {
		what = e.what();
	}
	EXPECT(what == "carried");
}

std::atomic<int> constructed{ 0 }, destructed{ 0 };

struct counted {
	std::string text = "a text that is too long to lie in the string itself";
	counted()
	{
		constructed++;
	}
	~counted()
	{
		std::this_thread::sleep_for(1ms);
		destructed++;
	}
};

thread_local counted local;

CHECK(cxx_thread_local_is_destructed)
{
	constructed = destructed = 0;
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 20; i++)
			all.emplace_back([] {
				local.text += "!";
				std::this_thread::sleep_for(2ms);
			});
	}
	EXPECT(constructed == 20 && destructed == 20);
}

thread_local std::vector<int> numbers;

CHECK(cxx_thread_local_is_private)
{
	std::atomic<int> bad{ 0 };
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 20; i++)
			all.emplace_back([&, i] {
				for (int j = 0; j < 50; j++) {
					numbers.push_back(i);
					std::this_thread::yield();
					if (j % 10 == 0)
						std::this_thread::sleep_for(1ms);
				}
				for (int n : numbers)
					if (n != i)
						bad++;
				if (numbers.size() != 50)
					bad++;
			});
	}
	EXPECT(bad == 0 && numbers.empty());
}

CHECK(cxx_streams)
{
	std::atomic<int> bad{ 0 };
	{
		std::vector<std::jthread> all;
		for (int i = 0; i < 8; i++)
			all.emplace_back([&, i] {
				for (int j = 0; j < 100; j++) {
					std::ostringstream out;
					out << i << ' ' << j * 0.5;
					std::this_thread::yield();
					std::istringstream in(out.str());
					int a;
					double b;
					if (!(in >> a >> b) || a != i || b != j * 0.5)
						bad++;
				}
			});
	}
	EXPECT(bad == 0);
}

bool run_one(const check &c)
{
	std::string why;
	try {
		c.run();
	} catch (const std::exception &e) {
		why = e.what();
	}
	if (why.empty())
		std::printf("ok %s\n", c.name);
	else
		std::printf("not ok %s: cxx.cc:%s\n", c.name, why.c_str());
	std::fflush(stdout);
	return why.empty();
}

} // namespace

int main(int argc, char **argv)
{
	std::string after;
	bool good = true, list = argc > 1 && std::strcmp(argv[1], "--list") == 0;

	if (argc > 2 && std::strcmp(argv[1], "--after") == 0)
		after = argv[2];
	for (const auto &c : checks()) {
		if (list)
			std::puts(c.name);
		else if (after.empty() && (argc != 2 || std::strcmp(argv[1], c.name) == 0))
			good &= run_one(c);
		if (after == c.name)
			after.clear();
	}
	return good ? 0 : 1;
}
