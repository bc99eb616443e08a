/* Stands in for libfdb_c until it is wanted, and then loads it.
 *
 * A program that is linked against libfdb_c does not start on a machine without it: the dynamic
 * loader ends it before main, and does not say what to install. Here each function of the
 * library is a jump through a slot of its own. escapement_fdb_load() loads the library and fills
 * the slots, or says what is wrong. A jump leaves registers and stack as they are, so nothing
 * here has to know the functions' arguments. */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* What the foundationdb crate calls, API version 730. The linker tells when one is missing. */
#define FUNCTIONS(DO)                              \
  DO(fdb_create_database)                          \
  DO(fdb_database_create_transaction)              \
  DO(fdb_database_destroy)                         \
  DO(fdb_database_get_client_status)               \
  DO(fdb_database_get_main_thread_busyness)        \
  DO(fdb_database_set_option)                      \
  DO(fdb_error_predicate)                          \
  DO(fdb_future_destroy)                           \
  DO(fdb_future_get_error)                         \
  DO(fdb_future_get_int64)                         \
  DO(fdb_future_get_key)                           \
  DO(fdb_future_get_key_array)                     \
  DO(fdb_future_get_keyvalue_array)                \
  DO(fdb_future_get_mappedkeyvalue_array)          \
  DO(fdb_future_get_string_array)                  \
  DO(fdb_future_get_value)                         \
  DO(fdb_future_is_ready)                          \
  DO(fdb_future_set_callback)                      \
  DO(fdb_get_error)                                \
  DO(fdb_get_max_api_version)                      \
  DO(fdb_network_set_option)                       \
  DO(fdb_run_network)                              \
  DO(fdb_select_api_version_impl)                  \
  DO(fdb_setup_network)                            \
  DO(fdb_stop_network)                             \
  DO(fdb_transaction_add_conflict_range)           \
  DO(fdb_transaction_atomic_op)                    \
  DO(fdb_transaction_cancel)                       \
  DO(fdb_transaction_clear)                        \
  DO(fdb_transaction_clear_range)                  \
  DO(fdb_transaction_commit)                       \
  DO(fdb_transaction_destroy)                      \
  DO(fdb_transaction_get)                          \
  DO(fdb_transaction_get_addresses_for_key)        \
  DO(fdb_transaction_get_approximate_size)         \
  DO(fdb_transaction_get_committed_version)        \
  DO(fdb_transaction_get_estimated_range_size_bytes) \
  DO(fdb_transaction_get_key)                      \
  DO(fdb_transaction_get_mapped_range)             \
  DO(fdb_transaction_get_range)                    \
  DO(fdb_transaction_get_range_split_points)       \
  DO(fdb_transaction_get_read_version)             \
  DO(fdb_transaction_get_versionstamp)             \
  DO(fdb_transaction_on_error)                     \
  DO(fdb_transaction_reset)                        \
  DO(fdb_transaction_set)                          \
  DO(fdb_transaction_set_option)                   \
  DO(fdb_transaction_set_read_version)             \
  DO(fdb_transaction_watch)

__attribute__((visibility("hidden"))) void escapement_fdb_not_loaded(void) {
  fputs("libfdb_c was called before it was loaded: this is a bug\n", stderr);
  abort();
}

#define SLOT(function) \
  __attribute__((used, visibility("hidden"))) void *escapement_slot_##function = (void *)escapement_fdb_not_loaded;
FUNCTIONS(SLOT)

#if defined(__x86_64__)
#define JUMP(function)                           \
  "  endbr64\n"                                  \
  "  jmp *escapement_slot_" #function "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(function)                                        \
  "  hint #34\n"                                              \
  "  adrp x16, escapement_slot_" #function "\n"               \
  "  ldr x16, [x16, #:lo12:escapement_slot_" #function "]\n"  \
  "  br x16\n"
#else
#error "build.rs compiles this for x86_64 and aarch64 only"
#endif

/* Hidden, so that the library itself never takes them for its own. */
#define TRAMPOLINE(function)                     \
  __asm__(".text\n"                              \
          ".globl " #function "\n"               \
          ".hidden " #function "\n"              \
          ".type " #function ", %function\n"     \
          #function ":\n"                        \
          JUMP(function)                         \
          ".size " #function ", . - " #function "\n");
FUNCTIONS(TRAMPOLINE)

/* What stops the library's thread, once it runs. */
static void (*stop)(void);

void escapement_fdb_stop_at_exit(void (*function)(void)) { stop = function; }

static void run_stop(void *unused) {
  (void)unused;
  if (stop != NULL) {
    stop();
  }
}

/* The library's thread must have ended before exit() runs the first destructor of the library:
 * it makes statics whenever it first needs them, so a handler of atexit() would come after
 * theirs, and find the thread at work on what is gone. exit() begins with what the calling
 * thread has to destroy of its own, and the calling thread is the main one, which runs this. */
extern int __cxa_thread_atexit_impl(void (*function)(void *), void *argument, void *dso) __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));

__attribute__((constructor)) static void register_stop(void) {
  if (__cxa_thread_atexit_impl != NULL) {
    __cxa_thread_atexit_impl(run_stop, NULL, &__dso_handle);
  }
}

/* NULL once the library is loaded; otherwise what is wrong, valid until the next call. Not for
 * two threads at once. */
const char *escapement_fdb_load(void) {
  void *library = dlopen("libfdb_c.so", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    return dlerror();
  }
#define RESOLVE(function)                                      \
  {                                                            \
    void *found = dlsym(library, #function);                   \
    if (found == NULL) {                                       \
      return dlerror();                                        \
    }                                                          \
    escapement_slot_##function = found;                        \
  }
  FUNCTIONS(RESOLVE)
  return NULL;
}
