"""Right programs for real problems of LiveCodeBench, by question, as a model would write them."""

RIGHT = {
    "1873_A": """
for _ in range(int(input())):
    s = input()
    print("YES" if sum(a != b for a, b in zip(s, "abc")) in (0, 2) else "NO")
""",
    "1873_B": """
import sys
def main():
    data = sys.stdin.read().split()
    position = 1
    for _ in range(int(data[0])):
        n = int(data[position])
        digits = sorted(map(int, data[position + 1 : position + 1 + n]))
        digits[0] += 1
        product = 1
        for digit in digits:
            product *= digit
        print(product)
        position += n + 1
if __name__ == '__main__':
    main()
""",
    "abc301_a": """
n, s = int(input()), input()
t = s.count("T")
print("T" if t > n - t or (t == n - t and s[-1] == "A") else "A")
""",
    "abc302_a": "a, b = map(int, input().split())\nprint(-(-a // b))",
    "abc303_a": """
n = input()
same = lambda s: s.replace("1", "l").replace("0", "o")
print("Yes" if same(input()) == same(input()) else "No")
exit()
""",
    "abc306_a": "input()\nprint(''.join(c * 2 for c in input()))",
    "abc306_b": "print(int(''.join(input().split()[::-1]), 2))",
    "abc305_b": """
import sys
place = dict(zip("ABCDEFG", [0, 3, 4, 8, 9, 14, 23]))
p, q = sys.stdin.buffer.readline().decode().split()
sys.stdout.write(str(abs(place[p] - place[q])) + "\\n")
""",
    "2727": """
class Solution:
    def countSeniors(self, details: List[str]) -> int:
        return sum(int(d[11:13]) > 60 for d in details)
""",
    "2756": """
class Solution:
    def buyChoco(self, prices: List[int], money: int) -> int:
        a, b = heapq.nsmallest(2, prices)
        return money - a - b if a + b <= money else money
""",
    "2777": """
from typing import List
class Solution:
    def distinctDifferenceArray(self, nums: List[int]) -> List[int]:
        return [len(set(nums[:i + 1])) - len(set(nums[i + 1:])) for i in range(len(nums))]
""",
    "2791": """
class Solution:
    def circularGameLosers(self, n, k):
        seen, at, step = set(), 0, 1
        while at not in seen:
            seen.add(at)
            at = (at + step * k) % n
            step += 1
        return tuple(i + 1 for i in range(n) if i not in seen)
""",
    "2800": """
def minLength(s):
    while "AB" in s or "CD" in s:
        s = s.replace("AB", "").replace("CD", "")
    return len(s)
""",
    "2816": """
class Solution:
    def makeSmallestPalindrome(self, s: str) -> str:
        return "".join(min(a, b) for a, b in zip(s, s[::-1]))
""",
    "2824": """
class Solution:
    def isFascinating(self, n: int) -> bool:
        return sorted(str(n) + str(2 * n) + str(3 * n)) == list("123456789")
""",
}
