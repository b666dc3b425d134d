/// A 16-bit brain floating-point number: the upper half of an IEEE 754 binary32.
package struct BFloat16: Sendable, Equatable {
    /// Sign, 8 exponent bits, 7 fraction bits.
    package var bitPattern: UInt16

    /// The number whose encoding is `bitPattern`.
    package init(bitPattern: UInt16) {
        self.bitPattern = bitPattern
    }

    /// `value` rounded to nearest, ties to even; NaN stays a quiet NaN.
    package init(_ value: Float) {
        let bits = value.bitPattern
        if value.isNaN {
            bitPattern = UInt16(truncatingIfNeeded: bits >> 16) | 0x0040
        } else {
            bitPattern = UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ ((bits >> 16) & 1)) >> 16)
        }
    }

    /// The same number as a `Float`; exact.
    package var floatValue: Float {
        Float(bitPattern: UInt32(bitPattern) << 16)
    }
}
