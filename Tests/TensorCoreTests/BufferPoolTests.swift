import TensorCore
import Testing

@Suite struct BufferPoolTests {
    @Test func bytesInUseAreThoseOfLivingTensors() {
        let pool = BufferPool()
        #expect(pool.usedBytes == 0 && pool.peakBytes == 0)
        do {
            let tensor = Tensor([1000], pool: pool)
            #expect(pool.usedBytes >= 4000 && pool.usedBytes <= 4000 * 9 / 8 + 512)
            do {
                let second = Tensor([500], pool: pool)
                #expect(pool.usedBytes >= 6000)
                withExtendedLifetime(second) {}
            }
            withExtendedLifetime(tensor) {}
        }
        #expect(pool.usedBytes == 0)
        #expect(pool.peakBytes >= 6000)
    }

    @Test func memoryOfADeadTensorIsUsedAgain() {
        let pool = BufferPool()
        func address(_ count: Int) -> UnsafeMutableRawPointer { Tensor([count], pool: pool).address }
        let first = address(10_000)
        // A little larger, and still the same block: similar sizes share them.
        #expect(address(10_010) == first)
        pool.trim()
        #expect(pool.usedBytes == 0)
    }

    @Test func tensorOutlivesTheLastOtherReferenceToItsPool() {
        func make() -> Tensor {
            let tensor = Tensor([3], pool: BufferPool())
            tensor.copy(from: [1, 2, 3])
            return tensor
        }
        #expect(make().toArray() == [1, 2, 3])
    }
}
