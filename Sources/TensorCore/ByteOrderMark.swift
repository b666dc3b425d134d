/// The mark that some editors put before a text in UTF-8, and that is no part of it.
package enum ByteOrderMark {
    /// Its bytes, U+FEFF in UTF-8.
    package static let bytes: [UInt8] = [0xEF, 0xBB, 0xBF]
}

extension RandomAccessCollection<UInt8> {
    /// The bytes behind a mark of byte order; all where there is none.
    package var withoutByteOrderMark: SubSequence {
        starts(with: ByteOrderMark.bytes) ? dropFirst(ByteOrderMark.bytes.count) : self[...]
    }
}
