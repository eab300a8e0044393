/* What a Cortex-M4F needs before main: where the stack is, where to begin, and its FPU turned on. newlib's rdimon does
   the rest and prints through the emulator (semihosting). */
#include <stdint.h>

extern void _start(void);
void reset(void);

void reset(void) {
    *(volatile uint32_t *)0xE000ED88 |= UINT32_C(0xF) << 20;
    __asm__ volatile("dsb\n isb");
    _start();
    for (;;) {
    }
}

static void stop(void) {
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))0x20400000, reset, stop, stop, stop, stop, stop,
};
